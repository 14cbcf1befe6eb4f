//! An incremental splitter of JSON arrays, so that a list of any length is read in constant memory.

/// Splits an array that arrives in pieces into the texts of its items.
#[derive(Debug, Default)]
pub(super) struct Items {
    text: Vec<u8>,
    /// Offset of the next byte to look at.
    at: usize,
    /// Offset at which the current item begins.
    begin: Option<usize>,
    /// Number of open brackets: 1 inside the array itself.
    depth: usize,
    in_text: bool,
    escaped: bool,
    ended: bool,
}

impl Items {
    /// Appends the next piece of the response.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let keep = self.begin.unwrap_or(self.at);
        self.text.drain(..keep);
        self.at -= keep;
        self.begin = self.begin.map(|_| 0);
        self.text.extend_from_slice(piece);
    }

    /// The next complete item.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        while let Some(&byte) = self.text.get(self.at) {
            self.at += 1;
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'[' | b'{' => {
                    if self.depth == 1 {
                        self.begin.get_or_insert(self.at - 1);
                    }
                    self.depth += 1;
                }
                b']' | b'}' if self.depth == 1 => {
                    self.depth = 0;
                    self.ended = true;
                    if let Some(begin) = self.begin.take() {
                        return Some(&self.text[begin..self.at - 1]);
                    }
                }
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b',' if self.depth == 1 => {
                    if let Some(begin) = self.begin.take() {
                        return Some(&self.text[begin..self.at - 1]);
                    }
                }
                byte => {
                    if self.depth == 1 && !byte.is_ascii_whitespace() {
                        self.begin.get_or_insert(self.at - 1);
                    }
                    self.in_text = byte == b'"';
                }
            }
        }
        None
    }

    /// `true` if the array was closed.
    pub(super) fn is_complete(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn cut(text: &[u8], pieces: &[usize]) -> (Vec<Value>, bool) {
        let mut items = Items::default();
        let mut found = Vec::new();
        let mut rest = text;
        for piece in pieces.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            items.push(now);
            rest = later;
            while let Some(item) = items.next() {
                found.push(serde_json::from_slice(item).unwrap());
            }
        }
        (found, items.is_complete())
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{},\"\\\\a é]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[\\[\\]{},\"\\\\a]*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn items_are_the_same_for_any_split_into_pieces(
            items in proptest::collection::vec(any_json(), 0..6),
            pieces in proptest::collection::vec(0_usize..12, 0..40),
            pretty in any::<bool>(),
        ) {
            let text = if pretty { serde_json::to_vec_pretty(&items) } else { serde_json::to_vec(&items) }.unwrap();
            prop_assert_eq!(cut(&text, &pieces), (items, true));
        }
    }

    #[test]
    fn truncated_array_is_not_complete() {
        assert_eq!(cut(b"[1,{\"a\":2}", &[]), (vec![Value::from(1)], false));
    }
}
