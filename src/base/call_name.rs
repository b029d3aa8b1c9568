//! The names that switches give calls, UUIDs mostly: how two of them are compared, everywhere.
//!
//! Runs in: anywhere: pure. Owns nothing. Never changes a name that goes back to a switch, which may know it in capitals.
//! Invariant: two names mean the same call exactly when their [`key`]s are equal.

use std::borrow::Cow;

use uuid::Uuid;
use uuid::fmt::{Hyphenated, Simple};

/// Whether this is a UUID as everyone writes it: 8-4-4-4-12 hexadecimal digits, in either case.
pub(crate) fn is_uuid(name: &str) -> bool {
    name.len() == Hyphenated::LENGTH && Uuid::try_parse(name).is_ok()
}

/// A UUID in small letters and with its hyphens, as everyone writes it (RFC 9562 section 4); any other name, which may be a
/// SIP Call-ID, as it is. This is what records, logs and answers of the API show.
pub(crate) fn canonical(name: &str) -> Cow<'_, str> {
    if !matches!(name.len(), Hyphenated::LENGTH | Simple::LENGTH) {
        return Cow::Borrowed(name);
    }
    match Uuid::try_parse(name).map(|uuid| uuid.to_string()) {
        Ok(uuid) if uuid != name => Cow::Owned(uuid),
        _ => Cow::Borrowed(name),
    }
}

/// What is equal for two names of the same call: case never counts, nor do the hyphens of a UUID.
pub(crate) fn key(name: &str) -> String {
    canonical(name).to_ascii_lowercase()
}

/// Whether both name the same call.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || canonical(one).eq_ignore_ascii_case(&canonical(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "2a162ce6-b85c-45d4-a03d-ffd4286da520";

    #[test]
    fn a_uuid_is_the_same_however_it_is_written() {
        for written in
            [UUID, &UUID.to_uppercase(), &UUID.replace('-', ""), &UUID.to_uppercase().replace('-', "")]
        {
            assert_eq!((canonical(written).as_ref(), key(written).as_str()), (UUID, UUID), "{written}");
            assert!(is_same(written, UUID) && is_same(UUID, written), "{written}");
        }
        assert!(matches!(canonical(UUID), Cow::Borrowed(_)));
        assert!(!is_same(UUID, "2a162ce6-b85c-45d4-a03d-ffd4286da521"));
    }

    #[test]
    fn any_other_name_is_shown_as_it_is_and_compared_without_case() {
        for name in
            ["Call-ID.7@Example.com", "1795335118.347", "2a162ce6-b85c", "zz162ce6b85c45d4a03dffd4286da520"]
        {
            assert_eq!(canonical(name), name);
            assert!(is_same(name, &name.to_uppercase()) && key(name) == key(&name.to_uppercase()), "{name}");
        }
        assert!(
            !is_uuid("2a162ce6b85c45d4a03dffd4286da520") && is_uuid(UUID) && is_uuid(&UUID.to_uppercase())
        );
        assert!(!is_same("a", "b"));
    }
}
