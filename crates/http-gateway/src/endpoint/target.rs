//! The records that a request is about.

/// The records that a request is about, by the parameters of its path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// The name of a cluster.
    pub cluster: Option<&'a str>,
    /// The address of a host.
    pub host: Option<&'a str>,
    /// The id of an operation.
    pub operation: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Those of a path; `route` is the one of the router.
    pub fn of(route: &str, path: &'a str) -> Self {
        let mut target = Self::default();
        let mut resource = "";
        for (part, value) in route.split('/').zip(path.split('/')) {
            match (resource, part) {
                ("cluster", "{name}") => target.cluster = Some(value),
                ("operation", "{id}") => target.operation = Some(value),
                (_, "{address}" | "{host}") => target.host = Some(value),
                _ => {}
            }
            resource = part;
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_of_a_request_is_named_by_its_path() {
        let (member, events) = ("/v0/cluster/{name}/hosts/{host}", "/v0/operation/{id}/events");
        for (route, path, [cluster, host, operation]) in [
            (member, "/v0/cluster/web/hosts/10.0.0.1", [Some("web"), Some("10.0.0.1"), None]),
            ("/v0/host/{address}", "/v0/host/a", [None, Some("a"), None]),
            (events, "/v0/operation/1/events", [None, None, Some("1")]),
            ("/v0/network/{name}", "/v0/network/n", [None; 3]),
            ("/v0/hosts", "/v0/hosts", [None; 3]),
        ] {
            assert_eq!(Target::of(route, path), Target { cluster, host, operation }, "{path}");
        }
    }
}
