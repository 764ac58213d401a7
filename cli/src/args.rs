//! The command line.

use std::{path::PathBuf, time::Duration};

use backout_model::release::{Pick, duration};
use clap::{Parser, Subcommand, ValueEnum};

/// What became of a deploy, why, and what to do about it.
#[derive(Debug, Parser)]
#[command(name = "kubectl backout", bin_name = "kubectl backout", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// How to answer.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster, as whom, and where in it: the same flags and files as kubectl's.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Connection {
    /// The namespace; that of the context if absent.
    #[arg(long, short, global = true)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The cluster of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) cluster: Option<String>,
    /// The user of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) user: Option<String>,
    /// The kubeconfig; the files of KUBECONFIG, or ~/.kube/config, if absent.
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Act as another user.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,
    /// Act as a member of other groups.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Where the current revision stands; never older than your own last apply.
    #[command(after_help = EXIT_STATUS)]
    Status {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
        /// Follow it until it is decided.
        #[arg(long, short)]
        watch: bool,
        /// Follow it for at most so long, such as 5m.
        #[arg(long, requires = "watch", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Why a revision failed: the cause, what was seen, and what it had changed.
    Why {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
        /// The revision; the last one that failed if absent.
        #[arg(long)]
        revision: Option<u64>,
        /// All that is known, however long.
        #[arg(long, short)]
        all: bool,
    },
    /// What a revision changed, object by object and field by field.
    Diff {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
        /// The revision; the current one, or else the last one, if absent.
        #[arg(long)]
        revision: Option<u64>,
    },
    /// The last revisions: whose they were, and how they ended.
    History {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
    },
    /// Leave the current revision as it is, whatever becomes of it; stops a rollback.
    Hold {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
    },
    /// Judge a held revision again.
    Resume {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
    },
    /// Put everything back to the state before the current revision, or only some objects.
    Rollback {
        /// The release; that of plain kubectl applies if absent, or the only one.
        release: Option<String>,
        /// Back to the state that this healthy revision left.
        #[arg(long, conflicts_with = "only", value_name = "REVISION")]
        to: Option<u64>,
        /// Only this object, such as Deployment/web; more than one is possible. The rest is held.
        #[arg(long, value_name = "KIND/NAME")]
        only: Vec<Pick>,
    },
}

const EXIT_STATUS: &str = "Exit status: 0 healthy, 1 no answer, 2 failed, 3 not decided yet.";
