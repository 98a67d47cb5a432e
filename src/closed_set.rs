//! Closed sets: labels and statuses, of which each has its counter from the start.

/// An enum, a list of all its values, and what each stands for, from one table of both.
macro_rules! closed_set {
    (
        $(#[$of_enum:meta])* pub enum $Name:ident;
        $(#[$of_method:meta])* pub fn $method:ident() -> $Value:ty;
        $($Variant:ident = $value:literal,)+
    ) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name {
            $($Variant,)+
        }

        impl $Name {
            /// Each, in the order of the declaration, so that `ALL[value as usize] == value`.
            pub const ALL: [$Name; [$($value),+].len()] = [$($Name::$Variant),+];

            $(#[$of_method])*
            pub fn $method(self) -> $Value {
                match self {
                    $($Name::$Variant => $value,)+
                }
            }
        }
    };
}

pub(crate) use closed_set;
