//! Pages of proxies in front of an engine, which answer with HTML where an engine answers with JSON.

/// How much of a page is looked at, in bytes.
const READ: usize = 16 * 1024;
/// How much of a page is quoted, in characters.
const QUOTED: usize = 200;
/// Elements without text for people.
const SILENT: [&str; 4] = ["head", "style", "script", "title"];

/// Whether the body of an answer is a page, and not the message of an engine.
pub(super) fn is_page(body: &str) -> bool {
    body.trim_start_matches(is_blank).starts_with('<')
}

/// White space, or the byte order mark that some servers write first.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// The text of a page on one line, with the status of the answer.
pub(super) fn text(status: u16, page: &str) -> String {
    let end = page.char_indices().map(|(at, _)| at).take_while(|at| *at <= READ).last().unwrap_or(0);
    let page = if page.len() <= READ { page } else { &page[..end] };
    let mut text =
        without_tags(page).split(is_blank).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(QUOTED) {
        text.truncate(end);
        text.push('…');
    }
    let code = status.to_string();
    if text.is_empty() {
        format!("HTTP status {code}")
    } else if text.contains(&code) {
        text
    } else {
        format!("HTTP status {code}: {text}")
    }
}

/// The text between the tags of a page.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        text.push(' ');
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let Some((tag, after)) = rest[1..].split_once('>') else { return decoded(&text) };
        rest = after;
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        if let Some(silent) = SILENT.iter().find(|silent| silent.eq_ignore_ascii_case(&name)) {
            rest = after_element(rest, silent);
        }
    }
    text.push_str(rest);
    decoded(&text)
}

/// The rest of a page after the end tag of an element; empty if the element does not end.
fn after_element<'a>(rest: &'a str, name: &str) -> &'a str {
    let end = format!("</{name}");
    let at = rest.to_ascii_lowercase().find(&end).unwrap_or(rest.len());
    rest[at..].split_once('>').map_or("", |(_, after)| after)
}

/// Decodes the character references that error pages use.
fn decoded(text: &str) -> String {
    let references =
        [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    references.iter().fold(text.to_owned(), |text, (reference, character)| text.replace(reference, character))
}

#[cfg(test)]
mod tests {
    use super::{QUOTED, is_page, text};

    #[test]
    fn pages_are_quoted_as_text() {
        for (status, page, expected) in [
            (
                403,
                "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n",
                "403 Forbidden Request forbidden by administrative rules.",
            ),
            (
                405,
                "<html>\r\n<head><title>405 Not Allowed</title></head>\r\n<body>\r\n<center><h1>405 Not Allowed</h1>\
                 </center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n",
                "405 Not Allowed nginx/1.25.3",
            ),
            (
                403,
                "\u{feff}<!DOCTYPE HTML>\n<HTML><STYLE>p { color: red }</STYLE><!-- <p>hidden</p> --><p>You don&#39;t have \
                 <b>access</b> &amp; more</p>",
                "HTTP status 403: You don't have access & more",
            ),
            (502, "<html><head><title>Bad gateway</title>", "HTTP status 502"),
            (403, "<", "HTTP status 403"),
        ] {
            assert!(is_page(page), "{page}");
            assert_eq!(text(status, page), expected);
        }
        assert!(!is_page("No such image: a<b>:latest"));
    }

    #[test]
    fn long_page_is_cut() {
        let quote = text(403, &format!("<p>403 {}", "ü".repeat(100_000)));
        assert_eq!(quote.chars().count(), QUOTED + 1);
        assert!(quote.ends_with('…'));
    }
}
