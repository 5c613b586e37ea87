//! An event's field-value pairs as the producer sent them.

/// Field-value pairs, in the producer's order, as one flat slice `[field, value, field, value, …]`.
///
/// Fields may repeat and every part is any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    flat: &'a [&'a [u8]],
}

impl<'a> Fields<'a> {
    /// Takes a flat slice of even length; `None` when the last field has no value.
    #[must_use]
    pub fn new(flat: &'a [&'a [u8]]) -> Option<Self> {
        flat.len().is_multiple_of(2).then_some(Fields { flat })
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flat.len() / 2
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flat.is_empty()
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.flat.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    /// The value of the first field called `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// The flat slice.
    #[must_use]
    pub fn as_flat(&self) -> &'a [&'a [u8]] {
        self.flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_in_order_and_the_first_of_a_name_wins() {
        let flat: [&[u8]; 6] = [b"a", b"1", b"b", b"2", b"a", b"3"];
        let fields = Fields::new(&flat).unwrap();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields.get(b"a"), Some(&b"1"[..]));
        assert_eq!(fields.get(b"c"), None);
        assert_eq!(fields.iter().last(), Some((&b"a"[..], &b"3"[..])));
    }

    #[test]
    fn a_field_without_value_is_refused() {
        assert!(Fields::new(&[b"a", b"1", b"b"]).is_none());
    }
}
