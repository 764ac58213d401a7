//! A request as a rule sees it.

use http::{HeaderMap, Method, Request};
use hyper::body::Bytes;

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct Call {
    /// Counted from 1 for each proxy.
    pub number: u64,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, empty if there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Call {
    pub(super) fn new(request: &Request<Bytes>) -> Self {
        Self {
            number: 0,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            body: request.body().clone(),
        }
    }

    /// Whether it is to change something.
    pub fn is_write(&self) -> bool {
        ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method)
    }

    /// Whether it asks for a stream of events.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|pair| ["watch=true", "watch=1"].contains(&pair))
    }

    /// get, list, watch, create, update, patch or delete, as RBAC and the audit log call it.
    pub fn verb(&self) -> &'static str {
        match self.method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ if self.is_watch() => "watch",
            _ if self.name().is_none() => "list",
            _ => "get",
        }
    }

    /// The plural resource, with its subresource if there is one: `secrets`, `releases/status`. Empty for a path that is
    /// none of the API's resources.
    pub fn resource(&self) -> String {
        match self.segments().get(2..) {
            Some([resource, _, subresource]) => format!("{resource}/{subresource}"),
            Some([resource, ..]) => (*resource).to_owned(),
            _ => String::new(),
        }
    }

    /// The API group, empty for the core.
    pub fn group(&self) -> &str {
        self.segments().first().copied().unwrap_or_default()
    }

    /// The namespace in the path.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.segments().get(1).copied()?).filter(|namespace| !namespace.is_empty())
    }

    /// The name in the path.
    pub fn name(&self) -> Option<&str> {
        self.segments().get(3).copied()
    }

    /// Verb and resource, which tell requests of one kind from another's: `create secrets`, `update releases/status`.
    pub fn kind(&self) -> String {
        let resource = self.resource();
        if resource.is_empty() {
            format!("{} {}", self.method, self.path)
        } else {
            format!("{} {resource}", self.verb())
        }
    }

    /// Group, namespace, resource, name, subresource; only the first two may be empty.
    fn segments(&self) -> Vec<&str> {
        let mut path = self.path.split('/').skip(1);
        let group = match path.next() {
            Some("api") => "",
            Some("apis") => path.next().unwrap_or_default(),
            _ => return Vec::new(),
        };
        // The version.
        path.next();
        let rest: Vec<_> = path.filter(|segment| !segment.is_empty()).collect();
        // A namespace itself is an object, too.
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest.to_vec()),
            _ => ("", rest),
        };
        [vec![group, namespace], rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, uri: &str) -> Call {
        Call::new(&Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap())
    }

    #[test]
    fn a_request_is_called_what_the_audit_log_calls_it() {
        for (method, uri, kind, namespace, name) in [
            (Method::GET, "/api/v1/namespaces?limit=500", "list namespaces", None, None),
            (Method::GET, "/api/v1/namespaces/shop", "get namespaces", None, Some("shop")),
            (Method::GET, "/api/v1/namespaces/shop/secrets?watch=true", "watch secrets", Some("shop"), None),
            (
                Method::GET,
                "/apis/apps/v1/namespaces/a/deployments/b",
                "get deployments",
                Some("a"),
                Some("b"),
            ),
            (Method::GET, "/apis/backout.dev/v1/releases?a=b&watch=1", "watch releases", None, None),
            (
                Method::PUT,
                "/apis/backout.dev/v1alpha1/namespaces/a/releases/b/status",
                "update releases/status",
                Some("a"),
                Some("b"),
            ),
            (Method::POST, "/api/v1/namespaces/a/secrets", "create secrets", Some("a"), None),
            (Method::DELETE, "/api/v1/namespaces/a/pods/b", "delete pods", Some("a"), Some("b")),
            (Method::GET, "/version", "GET /version", None, None),
        ] {
            let call = call(method, uri);
            assert_eq!(
                (call.kind().as_str(), call.namespace(), call.name()),
                (kind, namespace, name),
                "{uri}"
            );
        }
    }
}
