use crate::api::Reason;
use crate::connect::{Field, Section};
use crate::policy::ResolvedReference;
use crate::reference::select;

/// Why a field is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    /// No section of that name.
    SectionNotFound,
    /// No such field.
    NotFound,
    /// Several fields of that name, by id.
    Ambiguous(Vec<String>),
    /// The field has no value. A key is not blanked without being told so.
    Empty,
    /// A one-time password.
    OneTimePassword,
}

impl FieldError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::SectionNotFound | Self::NotFound => Reason::FieldNotFound,
            Self::Ambiguous(_) => Reason::AmbiguousField,
            Self::Empty => Reason::FieldEmpty,
            Self::OneTimePassword => Reason::OneTimePassword,
        }
    }

    pub(super) fn describe(&self, reference: &ResolvedReference) -> String {
        let item = format!("item {} of vault {}", reference.item.title, reference.item.vault_name);
        let (field, section) = (&reference.field, reference.section.as_deref().unwrap_or_default());
        match self {
            Self::SectionNotFound => format!("{item} has no section {section}"),
            Self::NotFound if section.is_empty() => format!("{item} has no field {field}"),
            Self::NotFound => format!("section {section} of {item} has no field {field}"),
            Self::Ambiguous(ids) => format!(
                "{item} has {} fields {field}, with the ids {}; name the section, or use an id",
                ids.len(),
                ids.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", "),
            ),
            Self::Empty => format!(
                "field {field} of {item} is empty; give it a value in 1Password or remove the key"
            ),
            Self::OneTimePassword => format!(
                "field {field} of {item} is a one-time password, which would be stale as soon as it is written"
            ),
        }
    }
}

/// Finds a field as 1Password's own SDK does: without a section, fields outside sections come first,
/// then one that is unique across sections; where several sections match, the fields of all of them count
/// (<https://github.com/1Password/onepassword-sdk-go>, release notes 0.1.6 and 0.2.1).
pub(super) fn find<'f>(
    sections: &[Section],
    fields: &'f [Field],
    section: Option<&str>,
    spelled: &str,
) -> Result<&'f str, FieldError> {
    let candidates: Vec<&Field> = match section {
        Some(section) => {
            let ids: Vec<&str> =
                select(sections, section, |s| &s.id, |s| s.label.as_deref().unwrap_or_default())
                    .into_iter()
                    .map(|s| s.id.as_str())
                    .collect();
            if ids.is_empty() {
                return Err(FieldError::SectionNotFound);
            }
            fields
                .iter()
                .filter(|f| f.section_id.as_deref().is_some_and(|id| ids.contains(&id)))
                .collect()
        }
        None => fields.iter().collect(),
    };
    let matching = |candidates: &[&'f Field]| -> Vec<&'f Field> {
        select(candidates, spelled, |f| &f.id, |f| f.label.as_deref().unwrap_or_default())
            .into_iter()
            .copied()
            .collect()
    };
    let outside: Vec<&Field> = candidates.iter().copied().filter(|f| !in_section(f)).collect();
    let mut found = if section.is_none() { matching(&outside) } else { Vec::new() };
    if found.is_empty() {
        found = matching(&candidates);
    }
    match found.as_slice() {
        [] => Err(FieldError::NotFound),
        [field] if field.is_one_time_password() => Err(FieldError::OneTimePassword),
        [field] => match &field.value {
            Some(value) if !value.is_empty() => Ok(value.expose()),
            Some(_) | None => Err(FieldError::Empty),
        },
        several => Err(FieldError::Ambiguous(several.iter().map(|f| f.id.clone()).collect())),
    }
}

/// `add more` is the id of the section that holds what has none.
fn in_section(field: &Field) -> bool {
    field.section_id.as_deref().is_some_and(|id| id != "add more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Value;

    fn field(id: &str, label: &str, section: Option<&str>, value: &str) -> Field {
        Field {
            id: id.to_owned(),
            label: Some(label.to_owned()),
            type_: "STRING".to_owned(),
            purpose: None,
            value: Some(Value::from(value.to_owned())),
            section_id: section.map(str::to_owned),
        }
    }

    fn section(id: &str, label: &str) -> Section {
        Section { id: id.to_owned(), label: Some(label.to_owned()) }
    }

    #[test]
    fn a_field_outside_sections_comes_before_those_inside() {
        let fields = [field("1", "url", Some("s"), "inside"), field("2", "url", None, "outside")];
        assert_eq!(find(&[section("s", "main")], &fields, None, "url"), Ok("outside"));
        assert_eq!(find(&[section("s", "main")], &fields, Some("main"), "url"), Ok("inside"));
    }

    #[test]
    fn a_field_unique_across_sections_needs_no_section() {
        let fields = [field("1", "url", Some("s"), "a"), field("2", "port", Some("t"), "b")];
        assert_eq!(find(&[], &fields, None, "port"), Ok("b"));
    }

    #[test]
    fn two_fields_of_one_label_are_ambiguous_and_an_id_tells_them_apart() {
        let fields = [field("1", "url", Some("s"), "a"), field("2", "url", Some("t"), "b")];
        assert_eq!(
            find(&[], &fields, None, "url"),
            Err(FieldError::Ambiguous(vec!["1".to_owned(), "2".to_owned()]))
        );
        assert_eq!(find(&[], &fields, None, "2"), Ok("b"));
    }

    #[test]
    fn several_sections_of_one_label_count_together() {
        let sections = [section("s", "db"), section("t", "db")];
        let fields = [field("1", "url", Some("s"), "a"), field("2", "port", Some("t"), "b")];
        assert_eq!(find(&sections, &fields, Some("db"), "port"), Ok("b"));
    }

    #[test]
    fn what_is_missing_empty_or_a_one_time_password_is_an_error() {
        let mut otp = field("3", "code", None, "otpauth://totp/x");
        otp.type_ = "OTP".to_owned();
        let fields = [field("1", "url", None, ""), otp];
        assert_eq!(find(&[], &fields, None, "none"), Err(FieldError::NotFound));
        assert_eq!(find(&[], &fields, Some("none"), "url"), Err(FieldError::SectionNotFound));
        assert_eq!(find(&[], &fields, None, "url"), Err(FieldError::Empty));
        assert_eq!(find(&[], &fields, None, "code"), Err(FieldError::OneTimePassword));
    }
}
