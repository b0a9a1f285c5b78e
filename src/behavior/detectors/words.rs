//! Words that the messages share.

use super::ceiling::Count;

/// The first of some vaults by its name, and how many more there are.
pub(super) fn vaults(vaults: &[(&str, &str)]) -> String {
    let first = vault(vaults.first().map(|(_, name)| *name));
    match vaults.len() {
        0 | 1 => first,
        more => format!("{first} and {} more", more - 1),
    }
}

/// A vault by its name, which other people chose.
pub(super) fn vault(name: Option<&str>) -> String {
    quoted("vault", name.unwrap_or_default())
}

/// That a vault gives out too much, without saying to whom.
pub(super) fn of_vault(over: &Count<'_>) -> String {
    format!(
        "with this, {} gives out more than {} items {} to namespaces that never had them",
        vault(over.vault),
        over.most,
        over.in_window()
    )
}

/// Something by a name of other people's choosing, without what could break out of a line.
pub(super) fn quoted(what: &str, name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("{what} `{name}`")
}

/// A time in the largest unit that gives at least two.
pub(super) fn time(seconds: i64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} hours", seconds / 3_600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} seconds"),
    }
}

/// The same for a window.
pub(super) fn window(window: std::time::Duration) -> String {
    time(i64::try_from(window.as_secs()).unwrap_or(i64::MAX))
}
