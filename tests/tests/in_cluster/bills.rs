//! What the bills beside the images say of the programs in them.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::ground::Ground;

#[tokio::test]
async fn each_crate_that_left_a_trace_in_an_image_is_in_its_bill() {
    let Some(ground) = Ground::alone().await else { return };
    for image in ground.images() {
        let bill: Value = serde_json::from_slice(&fs::read(&image.bill).unwrap()).unwrap();
        let components = bill["components"].as_array().unwrap().iter();
        let linked = components.filter(|component| component["scope"] == "required");
        let named: BTreeSet<_> = linked
            .map(|it| format!("{}-{}", it["name"].as_str().unwrap(), it["version"].as_str().unwrap()))
            .collect();
        let traces = traces(&fs::read(&image.archive).unwrap());
        // One in three has nothing in it that can panic.
        assert!(traces.len() > named.len() / 3, "{}: {traces:?}", image.name);
        let missing: Vec<_> = traces.difference(&named).collect();
        assert_eq!(missing, Vec::<&String>::new(), "{}", image.name);
    }
}

/// The crates whose code can panic: a program holds the names of their files, `…/registry/src/REGISTRY/CRATE-VERSION/FILE`.
fn traces(image: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(image);
    let paths = text.split("/registry/src/").skip(1);
    paths.filter_map(|path| path.split('/').nth(1)).map(str::to_owned).collect()
}
