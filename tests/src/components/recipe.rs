//! What each component is built from, and as which version.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Component;

impl Component {
    /// The version that is built, with a leading `v`.
    pub fn version(self) -> Result<&'static str> {
        let recipe = self.recipe();
        required_version(recipe.module.go_mod(), recipe.versioned_by)
    }

    pub(super) const fn recipe(self) -> Recipe {
        match self {
            Self::Etcd => ETCD,
            Self::KubeApiserver => {
                kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "about 5 minutes")
            }
            Self::KubeControllerManager => KUBE_CONTROLLER_MANAGER,
            Self::KubeScheduler => {
                kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "about 10 seconds")
            }
            Self::Kubectl => KUBECTL,
            Self::Helm => HELM,
            Self::Kwok => KWOK,
            Self::Kubelet => kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet", "about 30 seconds"),
            Self::KubeProxy => {
                kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", "about 20 seconds")
            }
        }
    }
}

pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) module: Module,
    /// The Go module whose version it carries.
    versioned_by: &'static str,
    /// The arguments that make it print its version.
    pub(super) ask: &'static [&'static str],
    /// How long it takes on two cores with nothing cached.
    pub(super) hint: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Module {
    ControlPlane,
    Kwok,
}

impl Module {
    pub(super) fn dir(self) -> PathBuf {
        let control_plane = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
        match self {
            Self::ControlPlane => control_plane,
            Self::Kwok => control_plane.join("kwok"),
        }
    }

    pub(super) const fn go_mod(self) -> &'static str {
        match self {
            Self::ControlPlane => include_str!("../../controlplane/go.mod"),
            Self::Kwok => include_str!("../../controlplane/kwok/go.mod"),
        }
    }

    pub(super) const fn go_sum(self) -> &'static str {
        match self {
            Self::ControlPlane => include_str!("../../controlplane/go.sum"),
            Self::Kwok => include_str!("../../controlplane/kwok/go.sum"),
        }
    }
}

/// Without them Kubernetes and Helm do not know their own versions, and charts' `kubeVersion` checks fail.
pub(super) fn link_flags() -> Result<String> {
    let kubernetes = Component::KubeApiserver.version()?;
    let helm = Component::Helm.version()?;
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = numbers.next().zip(numbers.next()).context("Kubernetes' version has no minor")?;
    let mut flags = "-s -w".to_owned();
    for (variable, value) in [
        ("k8s.io/component-base/version.gitVersion", kubernetes),
        ("k8s.io/component-base/version.gitMajor", major),
        ("k8s.io/component-base/version.gitMinor", minor),
        ("helm.sh/helm/v4/internal/version.version", helm),
        ("helm.sh/helm/v4/pkg/chart/common.k8sVersionMajor", major),
        ("helm.sh/helm/v4/pkg/chart/common.k8sVersionMinor", minor),
    ] {
        write!(flags, " -X {variable}={value}")?;
    }
    Ok(flags)
}

fn required_version(go_mod: &'static str, module: &str) -> Result<&'static str> {
    let requirement = |line: &'static str| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(module)?.strip_prefix(' ')?.split_whitespace().next()
    };
    go_mod.lines().find_map(requirement).with_context(|| format!("go.mod does not require {module}"))
}

const fn kubernetes(name: &'static str, package: &'static str, hint: &'static str) -> Recipe {
    let versioned_by = "k8s.io/kubernetes";
    Recipe { name, package, module: Module::ControlPlane, versioned_by, ask: &["--version"], hint }
}

const KUBE_CONTROLLER_MANAGER: Recipe = kubernetes(
    "kube-controller-manager",
    "k8s.io/kubernetes/cmd/kube-controller-manager",
    "about 90 seconds",
);

const KUBECTL: Recipe = Recipe {
    ask: &["version", "--client"],
    ..kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl", "about 40 seconds")
};

const ETCD: Recipe = Recipe {
    name: "etcd",
    package: "go.etcd.io/etcd/server/v3",
    module: Module::ControlPlane,
    versioned_by: "go.etcd.io/etcd/server/v3",
    ask: &["--version"],
    hint: "about 80 seconds",
};

const HELM: Recipe = Recipe {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    module: Module::ControlPlane,
    versioned_by: "helm.sh/helm/v4",
    ask: &["version"],
    hint: "about 30 seconds",
};

/// Does not compile together with Kubernetes 1.34: it has a module of its own.
const KWOK: Recipe = Recipe {
    name: "kwok",
    package: "sigs.k8s.io/kwok/cmd/kwok",
    module: Module::Kwok,
    versioned_by: "sigs.k8s.io/kwok",
    ask: &["--version"],
    hint: "about 2 minutes",
};

pub(super) const GO_ENVIRONMENT: &[(&str, &str)] =
    &[("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=readonly"), ("GOWORK", "off")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_module_files() {
        assert_eq!(Component::Kubectl.version().unwrap(), "v1.34.4");
        assert_eq!(Component::Helm.version().unwrap(), "v4.0.5");
        assert_eq!(Component::Kwok.version().unwrap(), "v0.7.0");
    }
}
