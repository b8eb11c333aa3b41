//! Which page lies at a path.

use warp::http::Method;

use super::access::Rules;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Page<'a> {
    Root,
    Ready,
    Healthy,
    Metrics,
    /// The metrics as JSON.
    Snapshot,
    /// Exchanges as they end.
    Tail,
    /// nginx's `stub_status`.
    Status,
    Plugins,
    /// With its id.
    Plugin(&'a str),
    /// The page for people: where it lies, and which of its files.
    Ui {
        place: &'a str,
        rest: &'a str,
    },
    /// The snapshot beside it, so that one path is all that a gateway's route needs.
    UiSnapshot {
        place: &'a str,
    },
}

impl<'a> Page<'a> {
    /// What lies at `path`. The page for people may lie below a prefix, too, if the listener's paths list that.
    pub(super) fn at(path: &'a str, rules: &Rules) -> Option<Page<'a>> {
        if let Some((place, rest)) = rules.ui(path) {
            return Some(match rest {
                "/snapshot" => Page::UiSnapshot { place },
                _ => Page::Ui { place, rest },
            });
        }
        match path {
            "/" => Some(Page::Root),
            "/ready" => Some(Page::Ready),
            "/healthy" => Some(Page::Healthy),
            "/metrics" => Some(Page::Metrics),
            "/snapshot" => Some(Page::Snapshot),
            "/tail" => Some(Page::Tail),
            "/nginx_status" => Some(Page::Status),
            "/plugins" => Some(Page::Plugins),
            _ => path.strip_prefix("/plugins/").filter(|id| !id.is_empty() && !id.contains('/')).map(Page::Plugin),
        }
    }

    /// Its methods, as the `Allow` header lists them.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Page::Root | Page::Ready | Page::Healthy | Page::Metrics | Page::Snapshot | Page::Status => "GET, HEAD",
            Page::Ui { .. } | Page::UiSnapshot { .. } => "GET, HEAD",
            Page::Tail => "GET",
            Page::Plugins => "GET, HEAD, POST",
            Page::Plugin(_) => "GET, HEAD, PATCH, DELETE",
        }
    }

    pub(super) fn has(self, method: &Method) -> bool {
        self.methods().split(", ").any(|own| own == method.as_str())
    }

    /// Where the page for people lies, of which this is a part.
    pub(super) fn place(self) -> Option<&'a str> {
        match self {
            Page::Ui { place, .. } | Page::UiSnapshot { place } => Some(place),
            _ => None,
        }
    }

    /// What a gateway's route is made for.
    pub(super) fn is_numbers(self) -> bool {
        matches!(self, Page::Metrics | Page::Snapshot)
    }

    /// Root, readiness and health tell nothing that is worth a token.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Page::Root | Page::Ready | Page::Healthy)
    }
}
