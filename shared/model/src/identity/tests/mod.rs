mod cel;
mod marks;

use serde_json::{Value, json};

use super::*;
use crate::names;

/// Alice creates a Deployment with kubectl.
struct Scene {
    verb: Verb,
    resource: &'static str,
    namespace: &'static str,
    user: &'static str,
    group: &'static str,
    tool: &'static str,
    dry_run: bool,
    object: Value,
    old: Option<Value>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            verb: Verb::Create,
            resource: "apps/deployments",
            namespace: "shop",
            user: "alice",
            group: "system:authenticated",
            tool: "",
            dry_run: false,
            object: json!({"metadata": {"name": "web", "namespace": "shop"}}),
            old: None,
        }
    }
}

impl Scene {
    fn with<T>(&self, look: impl FnOnce(Facts<'_>) -> T) -> T {
        let (group, resource) = self.resource.split_once('/').unwrap();
        look(Facts {
            verb: self.verb,
            group,
            resource,
            namespace: self.namespace,
            user: self.user,
            groups: &[self.group.into()],
            field_manager: self.tool,
            dry_run: self.dry_run,
            object: Image(&self.object),
            old: self.old.as_ref().map(Image),
        })
    }

    fn concern(&self) -> Result<(), Exempt> {
        self.with(|facts| facts.concern(&Deployers::default()))
    }

    fn belongs(&self) -> Belongs {
        self.with(|facts| facts.belongs())
    }

    /// The release that the write belongs to whoever writes.
    fn release(&self) -> String {
        let belongs = self.belongs();
        assert_eq!(belongs.join, None);
        belongs.own.unwrap().to_string()
    }
}

const OPERATOR: &str = "system:serviceaccount:shop:operator";

fn labelled(labels: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "labels": labels}})
}

fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "annotations": annotations}})
}

fn helm(namespace: &str) -> Value {
    annotated(&json!({"meta.helm.sh/release-name": "front", "meta.helm.sh/release-namespace": namespace}))
}

fn helm_secret(name: &str) -> Value {
    json!({"type": "helm.sh/release.v1", "metadata": {"name": name, "namespace": "shop"}})
}

#[test]
fn people_are_deployers_whatever_tool_they_use() {
    for user in ["alice", "kubernetes-admin", "system:admin", "system:anonymous"] {
        for tool in ["", "kubectl-edit", "my-script"] {
            assert_eq!(Scene { user, tool, ..Scene::default() }.concern(), Ok(()), "{user} {tool}");
        }
    }
}

#[test]
fn the_cluster_itself_and_backout_are_no_deployers() {
    for user in USERS_OF_THE_CLUSTER {
        let scene = Scene { user, tool: "kubectl", ..Scene::default() };
        assert_eq!(scene.concern(), Err(Exempt::Component), "{user}");
    }
    let scene = Scene { user: "node-1", group: "system:nodes", ..Scene::default() };
    assert_eq!(scene.concern(), Err(Exempt::Component));
}

const USERS_OF_THE_CLUSTER: [&str; 9] = [
    "system:apiserver",
    "system:cloud-controller-manager",
    "system:kube-controller-manager",
    "system:kube-proxy",
    "system:kube-scheduler",
    "system:node:n1",
    "system:serviceaccount:backout-system:backout-watcher",
    "system:serviceaccount:backout-system:backout-webhook",
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
];

#[test]
fn a_service_account_is_a_deployer_by_its_tool() {
    for tool in [
        "kubectl",
        "kubectl-client-side-apply",
        "helm",
        "Helm",
        "Terraform",
        "kapp-server-side-fieldmanager",
        "argocd-controller",
        "kustomize-controller",
        "helm-controller",
        "pulumi-kubernetes",
        "ansible",
        "flux",
        "nelm",
    ] {
        assert_eq!(Scene { user: OPERATOR, tool, ..Scene::default() }.concern(), Ok(()), "{tool}");
    }
    for tool in ["", "manager", "helmsman-operator", "my-kubectl", "argocd-controllers"] {
        let scene = Scene { user: OPERATOR, tool, ..Scene::default() };
        assert_eq!(scene.concern(), Err(Exempt::NotDeployer), "{tool}");
    }
}

#[test]
fn a_service_account_is_a_deployer_if_its_new_object_is_marked() {
    let marked = [labelled(&json!({names::MARK: "x"})), annotated(&json!({names::MARK: "x"}))];
    for object in marked.into_iter().chain([helm("shop"), helm("other")]) {
        for verb in [Verb::Create, Verb::Delete] {
            let scene = Scene { user: OPERATOR, verb, object: object.clone(), ..Scene::default() };
            assert_eq!(scene.concern(), Ok(()), "{object}");
        }
    }
    for object in [labelled(&json!({names::MARK: ""})), labelled(&json!({"app": "x"}))] {
        let scene = Scene { user: OPERATOR, object: object.clone(), ..Scene::default() };
        assert_eq!(scene.concern(), Err(Exempt::NotDeployer), "{object}");
    }
}

#[test]
fn an_operator_that_changes_an_object_marked_by_others_is_no_deployer() {
    let update = |old: Value| Scene {
        user: OPERATOR,
        verb: Verb::Update,
        object: helm("shop"),
        old: Some(old),
        ..Scene::default()
    };
    assert_eq!(update(helm("shop")).concern(), Err(Exempt::NotDeployer));
    assert_eq!(update(Scene::default().object).concern(), Ok(()));
}

#[test]
fn helms_own_secret_is_always_a_deployers() {
    let secret = helm_secret("sh.helm.release.v1.front.v3");
    let scene = Scene {
        user: OPERATOR,
        verb: Verb::Update,
        resource: "/secrets",
        object: secret.clone(),
        old: Some(secret),
        ..Scene::default()
    };
    assert_eq!(scene.concern(), Ok(()));
    let config_map = Scene { resource: "/configmaps", ..scene };
    assert_eq!(config_map.concern(), Err(Exempt::NotDeployer));
}

#[test]
fn the_deletion_of_a_tagged_object_is_a_deployers() {
    let object = labelled(&json!({names::UNDO: "u-1"}));
    let delete = Scene { user: OPERATOR, verb: Verb::Delete, object: object.clone(), ..Scene::default() };
    assert_eq!(delete.concern(), Ok(()));
    let update = Scene {
        user: OPERATOR,
        verb: Verb::Update,
        object: object.clone(),
        old: Some(object),
        ..Scene::default()
    };
    assert_eq!(update.concern(), Err(Exempt::NotDeployer));
}

#[test]
fn a_service_account_on_the_list_is_a_deployer() {
    for account in ["shop:operator", "system:serviceaccount:shop:operator"] {
        let deployers = Deployers::new([account]).unwrap();
        Scene { user: OPERATOR, ..Scene::default() }
            .with(|facts| assert_eq!(facts.concern(&deployers), Ok(())));
        Scene { user: "system:serviceaccount:shop:other", ..Scene::default() }
            .with(|facts| assert_eq!(facts.concern(&deployers), Err(Exempt::NotDeployer)));
    }
    for account in ["operator", "shop:", "shop:o'", "a:b:c", ""] {
        assert!(Deployers::new([account]).is_err(), "{account}");
    }
}

#[test]
fn controlled_objects_go_with_their_owner() {
    let owned = |controller: Value| {
        let object =
            json!({"metadata": {"ownerReferences": [{"uid": "a"}, {"uid": "b", "controller": controller}]}});
        Scene { object, ..Scene::default() }.concern()
    };
    assert_eq!(owned(json!(true)), Err(Exempt::Controlled));
    assert_eq!(owned(json!(false)), Ok(()));
    // Nobody hides a change by naming a controller with it.
    let [free, owned] =
        [json!({"metadata": {}}), json!({"metadata": {"ownerReferences": [{"controller": true}]}})];
    let update = |old: &Value, object: &Value| {
        let scene =
            Scene { verb: Verb::Update, object: object.clone(), old: Some(old.clone()), ..Scene::default() };
        scene.concern()
    };
    assert_eq!(update(&free, &owned), Ok(()));
    assert_eq!(update(&owned, &owned), Err(Exempt::Controlled));
}

#[test]
fn dry_runs_and_what_only_the_cluster_uses_are_exempt() {
    assert_eq!(Scene { dry_run: true, ..Scene::default() }.concern(), Err(Exempt::DryRun));
    for resource in [
        "/events",
        "events.k8s.io/events",
        "coordination.k8s.io/leases",
        "/endpoints",
        "/bindings",
        "/namespaces",
        "discovery.k8s.io/endpointslices",
        "authorization.k8s.io/localsubjectaccessreviews",
        "backout.dev/releases",
    ] {
        assert_eq!(Scene { resource, ..Scene::default() }.concern(), Err(Exempt::Resource), "{resource}");
    }
    for resource in ["/secrets", "example.com/events", "rbac.authorization.k8s.io/roles"] {
        assert_eq!(Scene { resource, ..Scene::default() }.concern(), Ok(()), "{resource}");
    }
}
