//! Where every field lies: asserted when this crate is compiled, and at hand for the tests that compare the C header and
//! the document with it.

/// A struct of the ABI.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// Its name in Rust.
    pub name: &'static str,
    /// Its name in C.
    pub c_name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields in order.
    pub fields: &'static [FieldLayout],
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct FieldLayout {
    /// Its name, the same in Rust and C.
    pub name: &'static str,
    /// Where it begins, in bytes from the struct's first.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
}

/// The size of the field that `project` leads to.
pub(crate) const fn field_size<S, F>(project: fn(&S) -> &F) -> usize {
    let _ = project;
    size_of::<F>()
}

/// Asserts size and offsets of a struct, and keeps them.
macro_rules! layout {
    ($constant:ident: $type:ident = $c_name:literal, $size:literal { $($field:ident $offset:literal),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)+
        };
        pub(crate) const $constant: $crate::layout::StructLayout = $crate::layout::StructLayout {
            name: stringify!($type),
            c_name: $c_name,
            size: $size,
            fields: &[$($crate::layout::FieldLayout {
                name: stringify!($field),
                offset: $offset,
                size: $crate::layout::field_size(|it: &$type| &it.$field),
            }),+],
        };
    };
}
pub(crate) use layout;

/// All structs of the ABI.
pub const STRUCTS: &[StructLayout] = &[
    crate::bytes::BYTES,
    crate::error::ERROR_OUT,
    crate::host::HOST,
    crate::manifest::MANIFEST,
    crate::partitioner::PARTITIONER_CONFIG,
    crate::partitioner::FIELD,
    crate::partitioner::ROUTE_REQUEST,
    crate::partitioner::PARTITIONER_VTABLE,
    crate::storage::types::LOG_NAME,
    crate::storage::types::CURSOR,
    crate::storage::types::BATCH,
    crate::storage::types::APPENDED,
    crate::storage::types::STORAGE_CONFIG,
    crate::storage::types::OPEN_REQUEST,
    crate::storage::types::OPENED,
    crate::storage::types::CHUNK,
    crate::storage::types::REWRITE_PLAN,
    crate::storage::types::REWRITTEN,
    crate::storage::types::LOG_FAILURE,
    crate::storage::types::NAME_SINK,
    crate::storage::types::DAMAGE_SINK,
    crate::storage::types::FAILURE_SINK,
    crate::storage::types::KEPT_SINK,
    crate::storage::types::BYTE_SINK,
    crate::storage::ownership::OWNER,
    crate::storage::ownership::LEASE,
    crate::storage::ownership::HOLDER,
    crate::storage::ownership::HOLDER_SINK,
    crate::storage::STORAGE_VTABLE,
];
