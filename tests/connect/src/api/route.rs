//! Which request is which, and what each is called in counts and faults.

use axum::http::Method;

use crate::activity::Action;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Heartbeat,
    Health,
    Metrics,
    Activity,
    Data(Data<'a>),
    /// A route of Connect's, with a method that it does not have.
    NotAllowed,
    Other,
}

/// A request about vaults and items, which is what the activity log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data<'a> {
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
            ["v1", "vaults"] | ["v1", "vaults", ""] => Self::Data(Data::Vaults),
            ["v1", "vaults", vault] => Self::Data(Data::Vault(vault)),
            ["v1", "vaults", vault, "items"] | ["v1", "vaults", vault, "items", ""] => {
                Self::Data(Data::Items(vault))
            }
            ["v1", "vaults", vault, "items", item, ref rest @ ..] => {
                let at = ItemPath { vault, item };
                Self::Data(match *rest {
                    [] => Data::Item(at),
                    ["files"] | ["files", ""] => Data::Files(at),
                    ["files", file] => Data::File(at, file),
                    ["files", file, "content"] => Data::FileContent(at, file),
                    _ => return Self::Other,
                })
            }
            _ => return Self::Other,
        };
        match (reading, method.as_str()) {
            (route, "GET") => route,
            (Self::Data(Data::Items(vault)), "POST") => Self::Data(Data::CreateItem(vault)),
            (Self::Data(Data::Item(at)), "PUT") => Self::Data(Data::ReplaceItem(at)),
            (Self::Data(Data::Item(at)), "PATCH") => Self::Data(Data::PatchItem(at)),
            (Self::Data(Data::Item(at)), "DELETE") => Self::Data(Data::DeleteItem(at)),
            _ => Self::NotAllowed,
        }
    }

    pub(crate) fn template(self) -> &'static str {
        match self {
            Self::Heartbeat => "GET /heartbeat",
            Self::Health => "GET /health",
            Self::Metrics => "GET /metrics",
            Self::Activity => "GET /v1/activity",
            Self::Data(data) => data.template(),
            Self::NotAllowed | Self::Other => "other",
        }
    }
}

impl<'a> Data<'a> {
    fn template(self) -> &'static str {
        match self {
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
        }
    }

    /// What the activity log calls it.
    pub(crate) fn action(self) -> Action {
        match self {
            Self::Vaults
            | Self::Vault(_)
            | Self::Items(_)
            | Self::Item(_)
            | Self::Files(_)
            | Self::File(..)
            | Self::FileContent(..) => Action::Read,
            Self::CreateItem(_) => Action::Create,
            Self::ReplaceItem(_) | Self::PatchItem(_) => Action::Update,
            Self::DeleteItem(_) => Action::Delete,
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
            Self::Vaults | Self::Vault(_) | Self::Items(_) | Self::CreateItem(_) => None,
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
        assert_eq!(of("/v1/vaults/x/items/y"), Route::Data(Data::Item(at)));
        assert_eq!(of("/v1/vaults/x/items/y/files"), Route::Data(Data::Files(at)));
        assert_eq!(of("/v1/vaults/x/items/y/files/"), Route::Data(Data::Files(at)));
        assert_eq!(of("/v1/vaults/x/items/y/files/z"), Route::Data(Data::File(at, "z")));
        assert_eq!(
            of("/v1/vaults/x/items/y/files/z/content"),
            Route::Data(Data::FileContent(at, "z"))
        );
        assert_eq!(of("/v1/vaults/x/"), Route::Other);
        assert_eq!(of("/"), Route::Other);
    }

    #[test]
    fn a_method_that_a_route_has_not_is_not_allowed() {
        let at = ItemPath { vault: "x", item: "y" };
        let of = |method: Method, path: &'static str| Route::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/vaults/x/items/"), Route::Data(Data::CreateItem("x")));
        assert_eq!(of(Method::PUT, "/v1/vaults/x/items/y"), Route::Data(Data::ReplaceItem(at)));
        assert_eq!(of(Method::PATCH, "/v1/vaults/x/items/y"), Route::Data(Data::PatchItem(at)));
        assert_eq!(of(Method::DELETE, "/v1/vaults/x/items/y"), Route::Data(Data::DeleteItem(at)));
        assert_eq!(of(Method::POST, "/v1/vaults"), Route::NotAllowed);
        assert_eq!(of(Method::DELETE, "/v1/vaults/x"), Route::NotAllowed);
        assert_eq!(of(Method::POST, "/v1/vaults/x/items/y/files"), Route::NotAllowed);
    }
}
