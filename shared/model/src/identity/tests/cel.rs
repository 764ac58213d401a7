use super::*;

#[test]
fn the_same_table_is_rendered_as_cel() {
    let conditions = match_conditions(&Deployers::new(["ci:deployer"]).unwrap());
    let names: Vec<_> = conditions.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        names,
        ["not-a-dry-run", "not-an-excluded-resource", "not-a-component", "not-controlled", "by-a-deployer"]
    );
    let cel = |name: &str| &conditions.iter().find(|c| c.name == name).unwrap().expression;
    for user in
        USERS_OF_THE_CLUSTER.iter().filter(|user| !user.contains("node:") && !user.contains("kube-system"))
    {
        assert!(cel("not-a-component").contains(&format!("'{user}'")), "{user}");
    }
    for text in [
        "!request.userInfo.?username.orValue('').startsWith('system:serviceaccount:')",
        "'helm-controller'",
        "'kubectl'",
        "in ['system:serviceaccount:ci:deployer']",
        "oldObject.metadata.?labels[?'backout.dev/undo'].hasValue()",
        "'backout.dev/release-name'",
        "'meta.helm.sh/release-namespace'",
        "'^sh[.]helm[.]release[.]v1[.].+[.]v[0-9]+$'",
    ] {
        assert!(cel("by-a-deployer").contains(text), "{text}\n{}", cel("by-a-deployer"));
    }
    let without = match_conditions(&Deployers::default());
    assert!(!without.iter().any(|condition| condition.expression.contains(" in []")));
}

#[test]
fn every_rendered_condition_is_balanced() {
    for condition in match_conditions_of_cluster(&Deployers::default()) {
        let count = |c: char| condition.expression.matches(c).count();
        assert_eq!(count('('), count(')'), "{}", condition.expression);
        assert_eq!(count('['), count(']'), "{}", condition.expression);
        assert_eq!(count('\'') % 2, 0, "{}", condition.expression);
    }
}

#[test]
fn cluster_scoped_objects_cost_no_call_without_a_mark_that_names_a_namespace() {
    let conditions = match_conditions_of_cluster(&Deployers::default());
    let marked = &conditions.last().unwrap().expression;
    for text in [
        "meta.helm.sh/release-namespace",
        "kustomize.toolkit.fluxcd.io/namespace",
        names::MARK,
        "kube-system",
    ] {
        assert!(marked.contains(text), "{text}\n{marked}");
    }
    assert!(!marked.contains("kapp") && !marked.contains("argocd"), "{marked}");
    assert_eq!(conditions.len(), match_conditions(&Deployers::default()).len() + 1);
}
