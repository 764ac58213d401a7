//! What no API server asks: a request about an object that cannot be. A record of it could never be checked, for the
//! object cannot be read.

use super::request::{Invalid, Request};
use crate::object::Image;

/// Checks what identifies the object of a request, and that its images are of that object.
pub(super) fn check<'a>(
    request: &Request<'_>,
    images: impl Iterator<Item = Image<'a>>,
) -> Result<(), Invalid> {
    let impossible = |field, value: &str| Err(Invalid::Impossible { field, value: value.to_owned() });
    let resource = &request.resource;
    for (field, text, others) in [
        ("API group", &resource.group, "-."),
        ("API version", &resource.version, ""),
        ("resource", &resource.plural, "-"),
        ("namespace", &request.namespace, "-"),
    ] {
        let is_odd = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && !others.contains(c);
        if text.contains(is_odd) || (text.is_empty() && ["API version", "resource"].contains(&field)) {
            return impossible(field, text);
        }
    }
    let mut first = None;
    for image in images {
        let name = image.meta("name").unwrap_or_default();
        // What the apiserver takes for a segment of a path: path.IsValidPathSegmentName.
        if [".", ".."].contains(&name) || name.contains(['/', '%']) || name.contains(char::is_control) {
            return impossible("name", name);
        }
        if *first.get_or_insert(name) != name {
            return impossible("second name", name);
        }
        if let Some(other) = image.meta("namespace").filter(|other| *other != request.namespace) {
            return impossible("second namespace", other);
        }
    }
    Ok(())
}
