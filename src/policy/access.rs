use super::{ItemIdentity, NamespaceFacts, glob_matches};
use crate::api::{AccessRow, Namespaces, VaultSelector};

/// The access rows of a server that speak of one namespace. Without rows nothing is allowed.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    rows: Vec<&'a AccessRow>,
}

impl<'a> Access<'a> {
    /// The rows among `rows` that the namespace is in.
    #[must_use]
    pub fn of(rows: &'a [AccessRow], namespace: &NamespaceFacts) -> Self {
        Self { rows: rows.iter().filter(|row| includes(&row.namespaces, namespace)).collect() }
    }

    /// Whether some item of the vault may be read.
    #[must_use]
    pub fn allows_vault(&self, id: &str, name: &str) -> bool {
        self.rows_of_vault(id, name).next().is_some()
    }

    /// The rows that allow the item, by name; none means that it may not be read.
    pub fn rows_allowing<'i>(
        &'i self,
        item: &'i ItemIdentity,
    ) -> impl Iterator<Item = &'a str> + 'i {
        self.rows_of_vault(&item.vault_id, &item.vault_name)
            .filter(|row| row_has_item(row, &item.item_id, &item.title))
            .map(|row| row.name.as_str())
    }

    /// Whether a vault that does not exist may be said not to exist: only if one of that name or id
    /// would be allowed. Otherwise the answer is that of a forbidden vault, so that nobody learns
    /// which vaults there are.
    #[must_use]
    pub fn may_speak_of_vault(&self, spelled: &str) -> bool {
        self.allows_vault(spelled, spelled)
    }

    /// The same for an item of a vault that is allowed.
    #[must_use]
    pub fn may_speak_of_item(&self, vault_id: &str, vault_name: &str, spelled: &str) -> bool {
        self.rows_of_vault(vault_id, vault_name).any(|row| row_has_item(row, spelled, spelled))
    }

    /// Whether a spelling could mean an item that is allowed, before anything is known of the items: its
    /// title in some case, or an id, which may belong to any title.
    #[must_use]
    pub fn could_allow_item(&self, vault_id: &str, vault_name: &str, spelled: &str) -> bool {
        let has_form_of_id =
            spelled.len() == 26 && spelled.bytes().all(|b| b.is_ascii_alphanumeric());
        let folded = spelled.to_lowercase();
        self.rows_of_vault(vault_id, vault_name).any(|row| {
            has_form_of_id
                || row.items.as_ref().is_none_or(|patterns| {
                    patterns.iter().any(|pattern| glob_matches(&pattern.to_lowercase(), &folded))
                })
        })
    }

    fn rows_of_vault(&self, id: &str, name: &str) -> impl Iterator<Item = &'a AccessRow> {
        self.rows.iter().copied().filter(move |row| {
            row.vaults.iter().any(|selector| match selector {
                VaultSelector { id: Some(wanted), .. } => wanted == id,
                VaultSelector { name: Some(pattern), .. } => glob_matches(pattern, name),
                VaultSelector { id: None, name: None } => false,
            })
        })
    }
}

fn row_has_item(row: &AccessRow, id: &str, title: &str) -> bool {
    row.items.as_ref().is_none_or(|patterns| {
        patterns.iter().any(|pattern| pattern == id || glob_matches(pattern, title))
    })
}

fn includes(namespaces: &Namespaces, namespace: &NamespaceFacts) -> bool {
    match namespaces {
        Namespaces { names: Some(names), .. } => names.contains(&namespace.name),
        // The schema refuses an empty selector; were one to get here, it must not mean everything.
        Namespaces { selector: Some(selector), .. } => {
            !selector.is_empty() && selector.matches(&namespace.labels)
        }
        Namespaces { all: Some(true), .. } => true,
        Namespaces { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::LabelSelector;

    fn namespace(name: &str) -> NamespaceFacts {
        NamespaceFacts {
            name: name.to_owned(),
            labels: BTreeMap::from([("team".to_owned(), name.to_owned())]),
        }
    }

    fn row(namespaces: Namespaces, vault: VaultSelector, items: Option<&str>) -> AccessRow {
        AccessRow {
            name: "row".to_owned(),
            namespaces,
            vaults: vec![vault],
            items: items.map(|i| vec![i.to_owned()]),
        }
    }

    fn named(name: &str) -> VaultSelector {
        VaultSelector { name: Some(name.to_owned()), id: None }
    }

    fn item(vault: &str, title: &str) -> ItemIdentity {
        ItemIdentity {
            vault_id: "v".repeat(26).into(),
            item_id: "i".repeat(26).into(),
            vault_name: vault.into(),
            title: title.into(),
        }
    }

    fn only(name: &str) -> Namespaces {
        Namespaces { names: Some(vec![name.to_owned()]), ..Namespaces::default() }
    }

    #[test]
    fn nothing_is_allowed_without_a_row() {
        let access = Access::of(&[], &namespace("shop"));
        assert_eq!(access.rows_allowing(&item("services", "db")).count(), 0);
    }

    #[test]
    fn a_row_allows_its_namespaces_vaults_and_items_alone() {
        let rows = [row(only("shop"), named("shop-*"), Some("db*"))];
        let access = Access::of(&rows, &namespace("shop"));
        assert_eq!(access.rows_allowing(&item("shop-api", "db-main")).next(), Some("row"));
        assert_eq!(access.rows_allowing(&item("shop-api", "other")).count(), 0);
        assert_eq!(access.rows_allowing(&item("infra", "db-main")).count(), 0);
        assert_eq!(
            Access::of(&rows, &namespace("bank"))
                .rows_allowing(&item("shop-api", "db-main"))
                .count(),
            0
        );
    }

    #[test]
    fn an_empty_selector_allows_nobody() {
        let everyone =
            Namespaces { selector: Some(LabelSelector::default()), ..Namespaces::default() };
        let rows = [row(everyone, named("*"), None)];
        assert!(!Access::of(&rows, &namespace("shop")).allows_vault("v", "any"));
    }

    #[test]
    fn only_what_would_be_allowed_is_said_not_to_exist() {
        let rows = [row(only("shop"), named("shop-*"), Some("db*"))];
        let access = Access::of(&rows, &namespace("shop"));
        assert!(access.may_speak_of_vault("shop-gone"));
        assert!(!access.may_speak_of_vault("infra"));
        assert!(access.may_speak_of_item("v", "shop-api", "db-gone"));
        assert!(!access.may_speak_of_item("v", "shop-api", "root"));
    }
}
