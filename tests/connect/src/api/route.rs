//! Which request is which, and what each is called in counts and faults.

use axum::http::Method;

use crate::activity::Action;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Heartbeat,
    Health,
    Metrics,
    Activity,
    Vaults,
    Vault(&'a str),
    Items(&'a str),
    CreateItem(&'a str),
    Item(ItemPath<'a>),
    ReplaceItem(ItemPath<'a>),
    PatchItem(ItemPath<'a>),
    DeleteItem(ItemPath<'a>),
    Files(ItemPath<'a>),
    File(ItemPath<'a>, &'a str),
    FileContent(ItemPath<'a>, &'a str),
    /// A route of Connect's, with a method that it does not have.
    NotAllowed,
    Other,
}

/// An item as a path names it; neither part needs to be an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ItemPath<'a> {
    pub(crate) vault: &'a str,
    pub(crate) item: &'a str,
}

impl<'a> Route<'a> {
    pub(crate) fn of(method: &Method, path: &'a str) -> Self {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        // Clients ask for lists with and without a slash at the end.
        let reading = match parts[..] {
            ["heartbeat"] => Self::Heartbeat,
            ["health"] => Self::Health,
            ["metrics"] => Self::Metrics,
            ["v1", "activity"] | ["v1", "activity", ""] => Self::Activity,
            ["v1", "vaults"] | ["v1", "vaults", ""] => Self::Vaults,
            ["v1", "vaults", vault] => Self::Vault(vault),
            ["v1", "vaults", vault, "items"] | ["v1", "vaults", vault, "items", ""] => {
                Self::Items(vault)
            }
            ["v1", "vaults", vault, "items", item] => Self::Item(ItemPath { vault, item }),
            ["v1", "vaults", vault, "items", item, "files"]
            | ["v1", "vaults", vault, "items", item, "files", ""] => {
                Self::Files(ItemPath { vault, item })
            }
            ["v1", "vaults", vault, "items", item, "files", file] => {
                Self::File(ItemPath { vault, item }, file)
            }
            ["v1", "vaults", vault, "items", item, "files", file, "content"] => {
                Self::FileContent(ItemPath { vault, item }, file)
            }
            _ => return Self::Other,
        };
        match (reading, method.as_str()) {
            (route, "GET") => route,
            (Self::Items(vault), "POST") => Self::CreateItem(vault),
            (Self::Item(at), "PUT") => Self::ReplaceItem(at),
            (Self::Item(at), "PATCH") => Self::PatchItem(at),
            (Self::Item(at), "DELETE") => Self::DeleteItem(at),
            _ => Self::NotAllowed,
        }
    }

    pub(crate) fn template(self) -> &'static str {
        match self {
            Self::Heartbeat => "GET /heartbeat",
            Self::Health => "GET /health",
            Self::Metrics => "GET /metrics",
            Self::Activity => "GET /v1/activity",
            Self::Vaults => "GET /v1/vaults",
            Self::Vault(_) => "GET /v1/vaults/{v}",
            Self::Items(_) => "GET /v1/vaults/{v}/items",
            Self::CreateItem(_) => "POST /v1/vaults/{v}/items",
            Self::Item(_) => "GET /v1/vaults/{v}/items/{i}",
            Self::ReplaceItem(_) => "PUT /v1/vaults/{v}/items/{i}",
            Self::PatchItem(_) => "PATCH /v1/vaults/{v}/items/{i}",
            Self::DeleteItem(_) => "DELETE /v1/vaults/{v}/items/{i}",
            Self::Files(_) => "GET /v1/vaults/{v}/items/{i}/files",
            Self::File(..) => "GET /v1/vaults/{v}/items/{i}/files/{f}",
            Self::FileContent(..) => "GET /v1/vaults/{v}/items/{i}/files/{f}/content",
            Self::NotAllowed | Self::Other => "other",
        }
    }

    /// What the activity log calls it; nothing where it is not recorded.
    pub(crate) fn action(self) -> Option<Action> {
        match self {
            Self::Vaults
            | Self::Vault(_)
            | Self::Items(_)
            | Self::Item(_)
            | Self::Files(_)
            | Self::File(..)
            | Self::FileContent(..) => Some(Action::Read),
            Self::CreateItem(_) => Some(Action::Create),
            Self::ReplaceItem(_) | Self::PatchItem(_) => Some(Action::Update),
            Self::DeleteItem(_) => Some(Action::Delete),
            Self::Heartbeat
            | Self::Health
            | Self::Metrics
            | Self::Activity
            | Self::NotAllowed
            | Self::Other => None,
        }
    }

    /// The item that the path names.
    pub(crate) fn item(self) -> Option<ItemPath<'a>> {
        match self {
            Self::Item(at)
            | Self::ReplaceItem(at)
            | Self::PatchItem(at)
            | Self::DeleteItem(at)
            | Self::Files(at)
            | Self::File(at, _)
            | Self::FileContent(at, _) => Some(at),
            Self::Heartbeat
            | Self::Health
            | Self::Metrics
            | Self::Activity
            | Self::Vaults
            | Self::Vault(_)
            | Self::Items(_)
            | Self::CreateItem(_)
            | Self::NotAllowed
            | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_met_with_and_without_a_slash() {
        let of = |path: &'static str| Route::of(&Method::GET, path);
        assert_eq!(of("/v1/vaults"), of("/v1/vaults/"));
        assert_eq!(of("/v1/vaults/x/items"), of("/v1/vaults/x/items/"));
        let at = ItemPath { vault: "x", item: "y" };
        assert_eq!(of("/v1/vaults/x/items/y"), Route::Item(at));
        assert_eq!(of("/v1/vaults/x/items/y/files"), Route::Files(at));
        assert_eq!(of("/v1/vaults/x/items/y/files/"), Route::Files(at));
        assert_eq!(of("/v1/vaults/x/items/y/files/z"), Route::File(at, "z"));
        assert_eq!(of("/v1/vaults/x/items/y/files/z/content"), Route::FileContent(at, "z"));
        assert_eq!(of("/v1/vaults/x/"), Route::Other);
        assert_eq!(of("/"), Route::Other);
    }

    #[test]
    fn a_method_that_a_route_has_not_is_not_allowed() {
        let at = ItemPath { vault: "x", item: "y" };
        let of = |method: Method, path: &'static str| Route::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/vaults/x/items/"), Route::CreateItem("x"));
        assert_eq!(of(Method::PUT, "/v1/vaults/x/items/y"), Route::ReplaceItem(at));
        assert_eq!(of(Method::PATCH, "/v1/vaults/x/items/y"), Route::PatchItem(at));
        assert_eq!(of(Method::DELETE, "/v1/vaults/x/items/y"), Route::DeleteItem(at));
        assert_eq!(of(Method::POST, "/v1/vaults"), Route::NotAllowed);
        assert_eq!(of(Method::DELETE, "/v1/vaults/x"), Route::NotAllowed);
        assert_eq!(of(Method::POST, "/v1/vaults/x/items/y/files"), Route::NotAllowed);
    }
}
