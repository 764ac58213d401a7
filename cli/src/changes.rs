//! What a revision changed, a line for each object and field.

use backout_model::evidence::{Change, Done, Field};

pub(crate) fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().flat_map(of_object).collect()
}

fn of_object(change: &Change) -> Vec<String> {
    let what = match change.operation {
        Done::Created => " (created)",
        Done::Changed => "",
        Done::Deleted => " (deleted)",
        Done::Replaced => " (deleted and made anew)",
    };
    let object = format!("  {}{what}", change.object);
    let fields = change.fields.iter().map(|it| format!("    {}", field(it)));
    std::iter::once(object).chain(fields).collect()
}

fn field(field: &Field) -> String {
    match (&field.before, &field.after) {
        (Some(before), Some(after)) => format!("{}: {before} -> {after}", field.path),
        (None, Some(after)) => format!("{}: {after} (new)", field.path),
        (Some(before), None) => format!("{}: {before} (removed)", field.path),
        (None, None) => field.path.clone(),
    }
}
