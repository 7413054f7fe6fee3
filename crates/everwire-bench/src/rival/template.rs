//! Text with places to fill in: `listen 127.0.0.1:{port};`.
//!
//! A place is a word of lowercase letters in braces. Any other brace stands for itself, so that
//! JSON, nginx and JavaScript can be written as they are.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de::Error as _};

/// Text with places that a `P` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<P> {
    parts: Vec<Part<P>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<P> {
    Text(String),
    Place(P),
}

/// The places that a template may have.
pub trait Place: Copy + 'static {
    /// Each with its word.
    const ALL: &'static [(&'static str, Self)];
}

/// Places of what a server is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPlace {
    /// A free TCP port of the loopback interface.
    Port,
    /// A scratch folder that exists for this start alone.
    Dir,
    /// The core that the server is bound to; 0 where nothing is bound.
    Core,
}

impl Place for StartPlace {
    const ALL: &'static [(&'static str, Self)] = &[
        ("port", Self::Port),
        ("dir", Self::Dir),
        ("core", Self::Core),
    ];
}

/// Places of what is said about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelPlace {
    /// The name, of letters, digits, hyphens and slashes.
    Channel,
}

impl Place for ChannelPlace {
    const ALL: &'static [(&'static str, Self)] = &[("channel", Self::Channel)];
}

impl<P: Place> Template<P> {
    /// # Errors
    /// If a word in braces is none of `P`.
    pub fn parse(text: &str) -> Result<Self, UnknownPlace<P>> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, word, after)) = next_word(rest) {
            plain.push_str(before);
            let place = P::ALL.iter().find(|(known, _)| *known == word);
            let &(_, place) = place.ok_or_else(|| UnknownPlace::new(word))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The text with what `value` gives in each place.
    pub fn fill(&self, value: impl Fn(P) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Place(place) => value(*place),
        });
        parts.collect()
    }
}

impl Template<ChannelPlace> {
    /// The text about `channel`.
    pub fn about(&self, channel: &str) -> String {
        self.fill(|ChannelPlace::Channel| channel.to_owned())
    }
}

impl<'de, P: Place> Deserialize<'de> for Template<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// Text around one payload, `{"say":"{data}"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeTemplate {
    /// Before the payload.
    pub before: Template<ChannelPlace>,
    /// After the payload.
    pub after: Template<ChannelPlace>,
}

impl<'de> Deserialize<'de> for EnvelopeTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected `{data}` once, where the payload is to stand";
        let (before, after) = text
            .split_once("{data}")
            .filter(|(_, after)| !after.contains("{data}"))
            .ok_or_else(|| D::Error::custom(expected))?;
        let parse = |text| Template::parse(text).map_err(D::Error::custom);
        Ok(Self {
            before: parse(before)?,
            after: parse(after)?,
        })
    }
}

/// A word in braces that names nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownPlace<P> {
    word: String,
    places: PhantomData<P>,
}

impl<P> UnknownPlace<P> {
    fn new(word: &str) -> Self {
        Self {
            word: word.to_owned(),
            places: PhantomData,
        }
    }
}

impl<P: Place> fmt::Display for UnknownPlace<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = P::ALL
            .iter()
            .map(|(word, _)| format!("`{{{word}}}`"))
            .collect();
        let known = known.join(", ");
        write!(
            f,
            "nothing is known for `{{{}}}`; expected {known}",
            self.word
        )
    }
}

/// The first word in braces, and what stands before and after it.
fn next_word(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let (word, after) = text[at + 1..].split_once('}')?;
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        is_word.then_some((&text[..at], word, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_braces_are_filled_and_other_braces_stay() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("listen {port};", "listen 80;"),
            ("{dir}/{dir}", "/scratch//scratch"),
            ("events { worker {port} }", "events { worker 80 }"),
            ("{\"a\":{\"port\":{port}}}", "{\"a\":{\"port\":80}}"),
            ("{{port}}", "{80}"),
            ("\\d{3} {} {Port} {", "\\d{3} {} {Port} {"),
        ] {
            let template = Template::<StartPlace>::parse(text).unwrap();
            let filled = template.fill(|place| match place {
                StartPlace::Port => "80".to_owned(),
                StartPlace::Dir => "/scratch".to_owned(),
                StartPlace::Core => "0".to_owned(),
            });
            assert_eq!(filled, expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_word_is_told_with_the_known_ones() {
        let error = Template::<StartPlace>::parse("a {prot}").unwrap_err();
        let expected = "nothing is known for `{prot}`; expected `{port}`, `{dir}`, `{core}`";
        assert_eq!(error.to_string(), expected);
        let error = Template::<ChannelPlace>::parse("/{port}").unwrap_err();
        let expected = "nothing is known for `{port}`; expected `{channel}`";
        assert_eq!(error.to_string(), expected);
    }
}
