//! The XML of the Query APIs as a small tree. Attributes say nothing there and are left out; documents with a DTD, with
//! entities of their own, or nested deeper than any answer are refused.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use zeroize::Zeroizing;

/// Deeper than any answer.
const DEEPEST: usize = 32;

/// One element: its text without the white space around it, and the elements within.
#[derive(Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    /// Wiped when dropped: it may be a secret.
    text: Zeroizing<String>,
    children: Vec<Self>,
}

impl Element {
    /// Reads a document; `None` when it is not whole, or not XML.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(document).ok()?);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) if open.len() < DEEPEST => {
                    open.push(Self::named(start.local_name().as_ref()))
                }
                Event::Empty(start) => {
                    open.last_mut()?.children.push(Self::named(start.local_name().as_ref()))
                }
                Event::End(_) => {
                    let mut closed = open.pop()?;
                    closed.text = Zeroizing::new(closed.text.trim().to_owned());
                    open.last_mut()?.children.push(closed);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text),
                Event::CData(text) => open.last_mut()?.text.push_str(&text),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                    Some(character) => open.last_mut()?.text.push(character),
                    None => open.last_mut()?.text.push_str(resolve_xml_entity(&reference)?),
                },
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Start(_) | Event::DocType(_) => return None,
                Event::Eof => break,
            }
        }
        match (open.pop()?, open.is_empty()) {
            (mut document, true) if document.children.len() == 1 => document.children.pop(),
            _ => None,
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// As [`Element::child`], without the rest.
    pub(crate) fn into_child(mut self, name: &str) -> Option<Self> {
        let at = self.children.iter().position(|child| child.name == name)?;
        Some(self.children.swap_remove(at))
    }

    /// The element at a path of names: `User/UserName`.
    fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| element.child(name))
    }

    /// The text at a path; `None` where there is no such element, or it is empty.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The members of a list: `Users/member`.
    pub(crate) fn members(&self, list: &str) -> impl Iterator<Item = &Self> {
        self.child(list)
            .into_iter()
            .flat_map(|list| list.children.iter().filter(|child| child.name == "member"))
    }

    /// The entries of a map: `SummaryMap/entry`.
    pub(crate) fn entries(&self, map: &str) -> impl Iterator<Item = &Self> {
        self.child(map).into_iter().flat_map(|map| map.children.iter().filter(|child| child.name == "entry"))
    }

    /// The members of this very element.
    pub(crate) fn into_members(self) -> impl Iterator<Item = Self> {
        self.children.into_iter().filter(|child| child.name == "member")
    }

    /// The text of this very element.
    pub(crate) fn own_text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_references() {
        let text = r#"<?xml version="1.0"?><!-- x --><R xmlns="https://iam.amazonaws.com/doc/"><L>
            <member><N> a &amp; b&#43;c </N></member><member/></L><E></E><C><![CDATA[<x>]]></C></R>"#;
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(root.members("L").count(), 2);
        assert_eq!(root.members("L").next().unwrap().text("N"), Some("a & b+c"));
        assert_eq!((root.text("E"), root.text("L/none"), root.text("C")), (None, None, Some("<x>")));
    }

    #[test]
    fn what_is_not_whole_or_tries_tricks_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(1_000), "</a>".repeat(1_000));
        for bad in [
            "",
            "hello",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&nobody;</a>",
            &deep,
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        ] {
            assert!(Element::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
