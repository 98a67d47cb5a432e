//! Closed sets: labels and statuses, of which each has its counter from the start.

/// A set whose values are all known, in an order.
pub trait ClosedSet: Copy {
    /// What each value is called, in the order of the declaration.
    const WORDS: &'static [&'static str];

    /// Where the value stands in that order.
    fn index(self) -> usize;
}

/// An enum, a list of all its values, and what each stands for, from one table of both.
macro_rules! closed_set {
    (
        $(#[$of_enum:meta])* $visibility:vis enum $Name:ident;
        $(#[$of_method:meta])* $method_visibility:vis fn $method:ident() -> $Value:ty;
        $($Variant:ident = $value:literal,)+
    ) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $Name {
            $($Variant,)+
        }

        impl $Name {
            /// Each, in the order of the declaration, so that `ALL[value as usize] == value`.
            $visibility const ALL: [$Name; [$($value),+].len()] = [$($Name::$Variant),+];

            $(#[$of_method])*
            $method_visibility fn $method(self) -> $Value {
                match self {
                    $($Name::$Variant => $value,)+
                }
            }
        }

        impl $crate::closed_set::ClosedSet for $Name {
            const WORDS: &'static [&'static str] = &[$(concat!($value)),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use closed_set;
