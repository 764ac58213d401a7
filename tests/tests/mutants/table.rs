//! Each invariant broken on purpose, in one line, and the least powerful test that notices.

/// A change of one line that must not pass unnoticed.
pub(crate) struct Mutant {
    /// The number of the invariant in ARCHITECTURE.md.
    pub(crate) invariant: u8,
    pub(crate) file: &'static str,
    /// The line as it is, without the blanks around it.
    pub(crate) line: &'static str,
    /// The line as broken.
    pub(crate) broken: &'static str,
    /// The package, the test binary (`lib` for the tests beside the code), and the test in it.
    pub(crate) test: (&'static str, &'static str, &'static str),
}

const MODEL: &str = "backout-model";
const WEBHOOK: &str = "backout-webhook";
const SYSTEM: &str = "system-tests";

macro_rules! mutants {
    ($($invariant:literal, $file:literal, $line:literal => $broken:literal, $package:ident $binary:literal $test:literal;)*) => {
        pub(crate) const MUTANTS: &[Mutant] = &[$(Mutant {
            invariant: $invariant,
            file: $file,
            line: $line,
            broken: $broken,
            test: ($package, $binary, $test),
        }),*];
    };
}

mutants! {
    // The record of every committed write was durable before it, and still counted.
    1, "shared/model/src/protocol/soak.rs",
        "&& !self.seen.log().any(is_open)"
        => "&& (true || !self.seen.log().any(is_open))",
        MODEL "protocol" "a_revision_is_committed_only_when_all_its_writes_are_known";
    1, "shared/model/src/undo/chain.rs",
        "pub const IN_FLIGHT: Duration = Duration::from_secs(40);"
        => "pub const IN_FLIGHT: Duration = Duration::from_secs(4);",
        MODEL "protocol" "a_revision_is_committed_only_when_all_its_writes_are_known";
    1, "shared/model/src/admission/decide.rs",
        "same.then_some(Pass::NoChange)" => "(same || true).then_some(Pass::NoChange)",
        MODEL "lib" "an_update_is_recorded_with_both_images_and_the_object_is_tagged";
    1, "webhook/src/review.rs",
        "Decision::Record(recording) => self.record(&request, *recording, until).await,"
        => "Decision::Record(recording) => Ok(Reviewed { body: answer(&request.uid, Answer::Allow { patch: recording.patch.as_ref(), warning: None, undo: None }), outcome: \"recorded\" }),",
        WEBHOOK "service" "a_write_is_allowed_once_its_record_is_stored";
    1, "webhook/src/log.rs",
        "Err(error) if !error.is(Class::AlreadyExists) => Err(error),"
        => "Err(error) if error.is(Class::Gone) => Err(error),",
        WEBHOOK "service" "without_a_record_the_answer_is_an_error_that_says_so";
    1, "webhook/src/log.rs",
        "let pieces: usize = try_join_all(pieces).await?.into_iter().sum();"
        => "self.create(&encoded.head, until).await?; let pieces: usize = try_join_all(pieces).await?.into_iter().sum();",
        WEBHOOK "service" "the_pieces_of_a_large_record_are_stored_before_its_head";

    // After RolledBack every object is in its state before, or listed.
    2, "shared/model/src/rollback/object.rs",
        "let object = records.iter().rev().fold(object, |object, record| {"
        => "let object = records.iter().fold(object, |object, record| {",
        MODEL "protocol" "an_object_that_was_written_twice_goes_back_to_what_it_was_before_both";
    2, "shared/model/src/rollback/plan.rs",
        "object::Next::Done if changes.uncertain => {" => "object::Next::Done if false && changes.uncertain => {",
        MODEL "protocol" "a_write_that_commits_late_is_undone_with_the_others";
    2, "shared/model/src/rollback/object.rs",
        "None => match image_before(&records, schema) {" => "None => match image_before(&records, schema).filter(|_| false) {",
        MODEL "plan" "what_the_release_deleted_is_created_from_its_image";
    2, "shared/model/src/protocol/unrecorded.rs",
        "self.looks_for_unrecorded() || self.holds_for_unrecorded()" => "self.looks_for_unrecorded()",
        MODEL "protocol" "what_is_not_recorded_as_a_whole_is_not_rolled_back_and_people_are_told_of_what";

    // Nothing without a confirmed record is written, no uid but the recorded one deleted.
    3, "shared/model/src/rollback/changes.rs",
        "pointer.is_some_and(is_create) || self.records.iter().copied().any(|entry| found(&entry))"
        => "true || pointer.is_some_and(is_create) || self.records.iter().copied().any(|entry| found(&entry))",
        MODEL "plan" "an_object_that_others_put_in_its_place_is_not_touched";
    3, "shared/model/src/undo/chain.rs",
        "if is_on_the_way || entry.is_verified() {" => "if is_on_the_way || entry.is_verified() || true {",
        MODEL "protocol" "an_object_that_was_only_claimed_to_be_made_by_the_release_is_not_taken_down";
    3, "shared/model/src/rollback/changes.rs",
        "Some(Proof::Refuted(why)) if is_claim => changes.refuted.push((entry, why)),"
        => "Some(Proof::Refuted(why)) if false && is_claim => changes.refuted.push((entry, why)),",
        MODEL "plan" "a_refuted_claim_that_no_object_bears_out_is_left_out";
    3, "watcher/src/cluster.rs",
        "..params::exactly(Some(uid.to_owned()), Some(resource_version.to_owned()))" =>
            "..params::exactly(Some(uid.to_owned()), None)",
        SYSTEM "stories" "a_failed_first_install_is_taken_down_again";

    // A healthy release changes nothing but three labels.
    4, "shared/model/src/health/verdict.rs",
        "let late = judgement.waits.iter().find(|wait| elapsed >= time(wait))?;" =>
            "let late = judgement.waits.iter().find(|wait| elapsed >= time(wait) || true)?;",
        MODEL "protocol" "each_write_gets_the_whole_time_to_become_ready";
    4, "shared/model/src/undo/chain.rs",
        "Operation::Delete => !is_there_to_stay(entry, live)," => "Operation::Delete => true,",
        MODEL "lib" "a_deletion_that_came_to_nothing_tells_nothing_of_the_pointer";
    4, "shared/model/src/admission/patch.rs",
        "_ => Patch::of(&[add(\"/metadata/labels\", &wanted())])," => "_ => Patch::of(&[add(\"/metadata/annotations\", &wanted())]),",
        MODEL "admission_props" "";

    // Decided once, and only on evidence.
    5, "shared/model/src/protocol/soak.rs",
        "Verdict::Undecided { .. } => {}" => "Verdict::Undecided { .. } => self.fail(Failure::default(), false),",
        MODEL "protocol" "a_blind_time_neither_counts_nor_keeps_the_watcher_busy";
    5, "shared/model/src/protocol/step.rs",
        "&& self.seen.generation != self.status.observed_generation" => "&& true",
        MODEL "protocol" "a_hold_that_no_permission_can_lift_is_not_tried_over_and_over";
    5, "shared/model/src/health/standing.rs",
        "Live::Unreadable(why) => Status::Unknown { message: why.clone() },"
        => "Live::Unreadable(why) => Status::Failed { reason: reasons::DISAPPEARED, message: why.clone() },",
        MODEL "health" "what_cannot_be_read_is_undecided_and_never_failed";

    5, "shared/model/src/protocol/step.rs",
        "_ if step.surveys() || step.secures_evidence() || step.sets_aside() => {}" => "_ if step.secures_evidence() && false => {}",
        MODEL "protocol" "the_evidence_about_every_failure_is_secured_before_anything_else_is_done";

    // Wherever the watcher dies it ends the same.
    6, "shared/model/src/protocol/log.rs",
        "self.status.confirmed = self.confirmed();" => "self.status.confirmed = Vec::new();",
        MODEL "protocol" "a_watcher_that_dies_after_every_single_change_still_gets_there";
    6, "shared/model/src/rollback/object.rs",
        "if !is_restored(changes, live, records, schema) {" => "if true || !is_restored(changes, live, records, schema) {",
        MODEL "protocol" "what_an_outsider_makes_of_a_restored_object_is_not_undone_again";
    6, "shared/model/src/protocol/clock.rs",
        "self.status.ready_since = None;" => "",
        MODEL "protocol" "the_soak_is_watched_from_its_begin_to_its_end";

    // Every revision is decided.
    7, "shared/model/src/protocol/log.rs",
        "self.wake = self.wake.or_after(at.saturating_sub(age));" => "",
        MODEL "protocol" "records_that_cannot_commit_any_more_are_collected_without_another_event";
    7, "shared/model/src/protocol/step.rs",
        "standing == Standing::Pending && entry.age < age" => "standing == Standing::Pending && (true || entry.age < age)",
        MODEL "protocol" "a_write_that_is_refused_again_and_again_does_not_keep_the_revision_from_its_cut";
    7, "shared/model/src/protocol/undoing.rs",
        "const GIVES_WAY: SignedDuration = SignedDuration::from_secs(60);"
        => "const GIVES_WAY: SignedDuration = SignedDuration::from_secs(600_000);",
        MODEL "protocol" "a_refused_rollback_gives_way_to_a_write_of_another_object_too_but_not_at_once";

    // Nothing that is not decided yet is collected, unless it came to nothing.
    8, "shared/model/src/protocol/log.rs",
        "Standing::Aborted => Some((IN_FLIGHT, entry.age, Effect::Collect(Spent::from(entry)))),"
        => "_ => Some((IN_FLIGHT, entry.age, Effect::Collect(Spent::from(entry)))),",
        MODEL "protocol" "a_record_under_one_that_is_gone_is_neither_forgotten_nor_guessed";
    8, "shared/model/src/protocol/step.rs",
        "self.status.healthy_position.clone_from(&self.status.sealed_position);"
        => "self.status.healthy_position = Some(self.seen.cut.to_string());",
        MODEL "protocol" "a_deployers_write_during_the_rollback_is_kept_and_is_the_next_revision";
    8, "shared/model/src/undo/chain.rs",
        "let dangling = lost.filter(|_| is_dangling).cloned();" => "let dangling = lost.filter(|_| false && is_dangling).cloned();",
        MODEL "protocol" "a_record_under_one_that_is_gone_is_neither_forgotten_nor_guessed";
    8, "watcher/src/records.rs",
        "self.delete(&spent.name, &params::exactly(None, Some(spent.resource_version.clone()))).await?;" =>
            "self.delete(&spent.name, &params::exactly(None, None)).await?;",
        SYSTEM "stories" "a_good_release_becomes_healthy_and_a_bad_upgrade_of_it_is_rolled_back";
}
