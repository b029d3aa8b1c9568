//! How settings are declared: [`settings!`] makes a section's structure, its defaults and its keys of one text.
//!
//! Runs in: the main thread, at start; pure. Owns the way from a checked value into a field: the field's type says it, or
//! what the declaration gives beside the form. Never checks a range: the key did.
//! Invariant: a setting is declared once; its documentation is its line in the reference, and its default is read like
//! anything that somebody writes.

use std::path::PathBuf;
use std::time::Duration;

use super::registry::{Checked, Kind};
use crate::base::Words;

/// Declares a section of the configuration, or what there can be several of.
///
/// ```text
/// /// What the section is about.
/// pub struct ListenConfig in "listen" {
///     /// What the key does.
///     pub field "its_key, if it has another name": Type = default, rule(range) in UNIT, like "example", environment "NAME";
///     + /// What is no setting.
///     pub field: Type;
/// }
/// ```
///
/// A key has a default or an example. `default` and `example` take TOML that Rust cannot write.
macro_rules! settings {
    ($(#[doc = $about:literal])+ $vis:vis struct $name:ident in $section:literal { $($body:tt)* }) => {
        settings! { @declared ($section ".") $(#[doc = $about])+ $vis struct $name { $($body)* } }
    };
    (
        @declared $prefix:tt $(#[doc = $about:literal])+ $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field_vis:vis $field:ident $($key:literal)?: $type:ty $(= $default:expr)?,
                $rule:ident $range:tt $(in $unit:ident)?
                $(, default $toml_default:literal)?
                $(, like $example:literal)?
                $(, example $toml_example:literal)?
                $(, environment $($variable:literal)+)?;
            )*
            $(+ $(#[doc = $other_doc:literal])+ $other_vis:vis $other:ident: $other_type:ty;)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $doc])+ $field_vis $field: $type,)*
            $($(#[doc = $other_doc])+ $other_vis $other: $other_type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: settings!(@default $rule $range [$($unit)?] $(stringify!($default))? $($toml_default)?),)*
                    $($other: Default::default(),)*
                }
            }
        }

        impl AsMut<Self> for $name {
            fn as_mut(&mut self) -> &mut Self {
                self
            }
        }

        impl $name {
            /// What it is about.
            pub(super) const ABOUT: &'static str = concat!($($about),+).trim_ascii_start();

            /// Its keys, for whatever holds one.
            pub(super) const fn keys<T: AsMut<Self> + 'static>() -> &'static [$crate::config::Key<T>] {
                const {
                    &[$($crate::config::Key {
                        name: settings!(@name $prefix $field $($key)?),
                        default: concat!($(stringify!($default))? $($toml_default)?),
                        example: concat!($(stringify!($example))? $($toml_example)?),
                        environment: &[$($($variable),+)?],
                        summary: concat!($($doc),+).trim_ascii_start(),
                        kind: settings!(@kind $rule $range $($unit)?),
                        set: |target, checked| {
                            AsMut::<Self>::as_mut(target).$field = settings!(@read $rule $range checked)?;
                            Ok(())
                        },
                    },)*]
                }
            }
        }
    };

    (@name ($($prefix:literal)*) $field:ident) => { concat!($($prefix,)* stringify!($field)) };
    (@name ($($prefix:literal)*) $field:ident $key:literal) => { concat!($($prefix,)* $key) };

    (@default $rule:ident $range:tt $unit:tt) => { Default::default() };
    (@default $rule:ident $range:tt [$($unit:ident)?] $toml:expr) => {{
        let (checked, _) = settings!(@kind $rule $range $($unit)?).default($toml);
        settings!(@read $rule $range checked).expect("a default that its field takes")
    }};

    (@kind text ($form:expr $(, $parse:expr)?)) => { $crate::config::Kind::Text { form: $form } };
    (@kind list ($form:expr, $read:expr)) => { $crate::config::Kind::List { form: $form } };
    (@kind choice_of ($words:expr, $values:expr)) => { $crate::config::settings::choice($words) };
    (@kind $rule:ident ($($bound:expr),*) $($unit:ident)?) => {
        $crate::config::settings::$rule($($bound),*)$(.in_units($crate::config::settings::$unit))?
    };

    (@read text ($form:expr, $parse:expr) $checked:ident) => { $crate::config::settings::parsed($checked, $parse) };
    (@read list ($form:expr, $read:expr) $checked:ident) => { $crate::config::settings::listed($checked, $read) };
    (@read choice_of ($words:expr, $values:expr) $checked:ident) => {
        $crate::config::settings::chosen($checked, $values)
    };
    (@read $rule:ident $range:tt $checked:ident) => { $crate::config::settings::FromChecked::read($checked) };

    ($(#[doc = $about:literal])+ $vis:vis struct $name:ident { $($body:tt)* }) => {
        settings! { @declared () $(#[doc = $about])+ $vis struct $name { $($body)* } }
    };
}

pub(super) use settings;

/// Milliseconds of a second, a minute and a day.
pub(super) const SECONDS: u64 = 1_000;
pub(super) const MINUTES: u64 = 60 * SECONDS;
pub(super) const DAYS: u64 = 24 * 60 * MINUTES;
/// Bytes of a MiB and a GiB.
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

pub(super) const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max, multiple_of: 1, zero: None, unit: 1 }
}

pub(super) const fn stepped(min: u64, max: u64, multiple_of: u64) -> Kind {
    Kind::Integer { min, max, multiple_of, zero: None, unit: 1 }
}

pub(super) const fn integer_or_zero(min: u64, max: u64, zero: &'static str) -> Kind {
    Kind::Integer { min, max, multiple_of: 1, zero: Some(zero), unit: 1 }
}

pub(super) const fn number(min: f64, max: f64) -> Kind {
    Kind::Number { min, max }
}

pub(super) const fn switch() -> Kind {
    Kind::Switch
}

pub(super) const fn choice(choices: &'static [&'static str]) -> Kind {
    Kind::Choice { choices, or_default: false }
}

pub(super) const fn choice_or_default(choices: &'static [&'static str]) -> Kind {
    Kind::Choice { choices, or_default: true }
}

pub(super) const fn secret(form: &'static str) -> Kind {
    Kind::Secret { form }
}

impl Kind {
    /// The same number of something larger.
    pub(super) const fn in_units(self, unit: u64) -> Self {
        match self {
            Self::Integer { min, max, multiple_of, zero, .. } => {
                Self::Integer { min, max, multiple_of, zero, unit }
            }
            other => other,
        }
    }
}

/// What a checked value makes a field's value of. The error completes "KEY = VALUE …".
pub(super) trait FromChecked: Sized {
    fn read(checked: Checked) -> Result<Self, String>;
}

/// Of one kind of value, and of nothing.
macro_rules! from_checked {
    ($($type:ty: $kind:ident($value:ident) => $read:expr, nothing => $nothing:expr;)+) => {
        $(impl $crate::config::settings::FromChecked for $type {
            fn read(checked: $crate::config::registry::Checked) -> Result<Self, String> {
                match checked {
                    $crate::config::registry::Checked::$kind($value) => $read,
                    $crate::config::registry::Checked::Nothing => $nothing,
                    _ => $crate::config::settings::unfit(),
                }
            }
        })+
    };
}

pub(super) use from_checked;

from_checked! {
    u16: Integer(v) => Self::try_from(v).map_err(|_| "is out of range".into()), nothing => Ok(0);
    u32: Integer(v) => Self::try_from(v).map_err(|_| "is out of range".into()), nothing => Ok(0);
    u64: Integer(v) => Ok(v), nothing => Ok(0);
    usize: Integer(v) => Self::try_from(v).map_err(|_| "is out of range".into()), nothing => Ok(0);
    Duration: Integer(v) => Ok(Self::from_millis(v)), nothing => Ok(Self::ZERO);
    f64: Number(v) => Ok(v), nothing => Ok(0.0);
    bool: Switch(v) => Ok(v), nothing => Ok(false);
    String: Text(v) => Ok(v), nothing => empty();
    PathBuf: Text(v) => Ok(v.into()), nothing => empty();
}

impl<C: Words> FromChecked for C {
    fn read(checked: Checked) -> Result<Self, String> {
        chosen(checked, Self::ALL)
    }
}

impl<F: FromChecked> FromChecked for Option<F> {
    fn read(checked: Checked) -> Result<Self, String> {
        if matches!(checked, Checked::Nothing) { Ok(None) } else { F::read(checked).map(Some) }
    }
}

/// A field that may or may not be without a value.
pub(super) trait Field<V>: Sized {
    fn of(value: Option<V>) -> Result<Self, String>;
}

impl<V> Field<V> for V {
    fn of(value: Option<V>) -> Result<Self, String> {
        value.map_or_else(empty, Ok)
    }
}

impl<V> Field<V> for Option<V> {
    fn of(value: Self) -> Result<Self, String> {
        Ok(value)
    }
}

/// A text as `parse` reads it.
pub(super) fn parsed<V, F: Field<V>>(
    checked: Checked,
    parse: impl FnOnce(&str) -> Result<V, String>,
) -> Result<F, String> {
    match checked {
        Checked::Text(text) => F::of(Some(parse(&text)?)),
        Checked::Nothing => F::of(None),
        _ => unfit(),
    }
}

/// A list as `read` reads it.
pub(super) fn listed<F>(
    checked: Checked,
    read: impl FnOnce(&[String]) -> Result<F, String>,
) -> Result<F, String> {
    match checked {
        Checked::List(items) => read(&items),
        _ => unfit(),
    }
}

/// What stands in the place of the word.
pub(super) fn chosen<V: Copy>(checked: Checked, values: impl AsRef<[V]>) -> Result<V, String> {
    match checked {
        Checked::Choice(position) => {
            values.as_ref().get(position).copied().ok_or_else(|| "has no meaning".into())
        }
        _ => unfit(),
    }
}

pub(super) fn empty<F>() -> Result<F, String> {
    Err("is empty".into())
}

/// A rule that does not go with its field, which the first reading of the defaults finds.
pub(super) fn unfit<F>() -> Result<F, String> {
    Err("is not what its field takes".into())
}
