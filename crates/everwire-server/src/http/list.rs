//! Fields that are lists (RFC 9110, section 5.6.1): in one line or several, with parameters, and with commas in quotes
//! that divide nothing.

use http::{HeaderMap, HeaderName};

/// The elements of a field, over all its lines. A line that is no text has none.
pub(super) fn elements<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| divide(line, ','))
}

/// The parts of a text between separators that stand outside quotes, without white space around them.
pub(super) fn divide(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        c == separator && !is_quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// A name and its weight, in thousandths (RFC 9110, section 12.4.2). What is no weight is as if it were not there.
pub(super) fn weighted(element: &str) -> (&str, u16) {
    let mut parts = divide(element, ';');
    let name = parts.next().unwrap_or("");
    let weight = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().parse::<f32>().ok()?;
        let is_weight = name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value);
        is_weight.then_some((value * 1000.0) as u16)
    });
    (name, weight.unwrap_or(1000))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_list_is_divided_outside_quotes_and_over_all_its_lines() {
        let mut headers = HeaderMap::new();
        for line in ["a, b;x=\"1,2\" ,,", "", "\"\\\",\", c"] {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        let found: Vec<_> = elements(&headers, &header::ACCEPT).collect();
        assert_eq!(found, ["a", "b;x=\"1,2\"", "\"\\\",\"", "c"]);
    }

    #[test]
    fn a_weight_is_a_number_from_0_to_1() {
        for (element, expected) in [
            ("text/html", ("text/html", 1000)),
            ("text/html;q=0.5", ("text/html", 500)),
            ("text/html ; charset=utf-8 ; Q=0", ("text/html", 0)),
            ("text/html;q=0.001", ("text/html", 1)),
            ("text/html;q=2", ("text/html", 1000)),
            ("text/html;q=high", ("text/html", 1000)),
            ("*/*;q=.8", ("*/*", 800)),
        ] {
            assert_eq!(weighted(element), expected, "{element}");
        }
    }
}
