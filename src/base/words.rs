//! Choices that have words: what an operator writes for them, and what a label or an answer says.
//!
//! Runs in: anywhere: pure. Owns the declaration of such a choice, [`words!`].
//! Invariant: a choice and its word stand in one line, so that there is none without the other.

/// A choice of a few, each with its word.
pub trait Words: Copy + 'static {
    /// Every choice.
    const ALL: &'static [Self];
    /// Their words, in the same order.
    const WORDS: &'static [&'static str];

    /// The word.
    fn label(self) -> &'static str;

    /// The choice with this word, in any case.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.label().eq_ignore_ascii_case(name))
    }
}

/// Declares an enum of choices with their words.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $vis:vis enum $name:ident { $($(#[$of_choice:meta])* $choice:ident = $word:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$of_choice])* $choice,)+ }

        impl $name {
            /// Every choice.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$choice),+];

            /// Its word.
            $vis const fn label(self) -> &'static str {
                match self {
                    $(Self::$choice => $word,)+
                }
            }
        }

        impl $crate::base::Words for $name {
            const ALL: &'static [Self] = &Self::ALL;
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn label(self) -> &'static str {
                self.label()
            }
        }
    };
}

pub(crate) use words;
