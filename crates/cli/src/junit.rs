//! JUnit XML, as every CI reads it.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// What was tried, by what it is about.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    pub cases: Vec<Case>,
}

#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub seconds: f64,
    pub verdict: Verdict,
    /// What was seen, line by line.
    pub seen: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// It is not as it must be.
    Failed(String),
    /// It could not be looked at: never a pass.
    Unproved(String),
}

impl Suite {
    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.verdict)).count()
    }

    /// Cases that are no pass.
    pub fn bad(&self) -> usize {
        self.count(|verdict| *verdict != Verdict::Passed)
    }
}

/// All suites as one document.
pub fn document(name: &str, suites: &[Suite]) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = xml.create_element("testsuites").with_attribute(("name", name));
    all.write_inner_content(|xml| suites.iter().try_for_each(|suite| write_suite(xml, suite)))?;
    let mut text = xml.into_inner();
    text.push(b'\n');
    Ok(text)
}

fn write_suite(xml: &mut Writer<Vec<u8>>, suite: &Suite) -> io::Result<()> {
    let failures = suite.count(|verdict| matches!(verdict, Verdict::Failed(_)));
    let errors = suite.count(|verdict| matches!(verdict, Verdict::Unproved(_)));
    let (tests, failures, errors) = (
        suite.cases.len().to_string(),
        failures.to_string(),
        errors.to_string(),
    );
    let element = xml.create_element("testsuite").with_attributes([
        ("name", suite.name),
        ("tests", tests.as_str()),
        ("failures", failures.as_str()),
        ("errors", errors.as_str()),
    ]);
    element.write_inner_content(|xml| {
        suite
            .cases
            .iter()
            .try_for_each(|case| write_case(xml, suite.name, case))
    })?;
    Ok(())
}

fn write_case(xml: &mut Writer<Vec<u8>>, suite: &str, case: &Case) -> io::Result<()> {
    let seconds = format!("{:.3}", case.seconds);
    let element = xml.create_element("testcase").with_attributes([
        ("classname", suite),
        ("name", case.name.as_str()),
        ("time", seconds.as_str()),
    ]);
    element.write_inner_content(|xml| {
        let bad = match &case.verdict {
            Verdict::Passed => None,
            Verdict::Failed(why) => Some(("failure", why)),
            Verdict::Unproved(why) => Some(("error", why)),
        };
        if let Some((word, why)) = bad {
            let element = xml.create_element(word).with_attribute(("message", why.as_str()));
            element.write_empty()?;
        }
        if !case.seen.is_empty() {
            let seen = plain(&case.seen.join("\n"));
            let element = xml.create_element("system-out");
            element.write_text_content(BytesText::new(&seen))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// XML has no way to write most control characters.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { '?' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_counts_its_cases_and_escapes_what_they_say() {
        let case = |name: &str, verdict| Case {
            name: name.into(),
            seconds: 1.25,
            verdict,
            seen: vec!["a < b".into(), "bell \u{7}".into()],
        };
        let suite = Suite {
            name: "tenants",
            cases: vec![
                case("cho-ray", Verdict::Passed),
                case("\"bach\" & mai", Verdict::Failed("P1 <open>".into())),
                case("hue", Verdict::Unproved("it is stuck".into())),
            ],
        };
        assert_eq!(suite.bad(), 2);
        let text = String::from_utf8(document("reeve isolation", &[suite]).unwrap()).unwrap();
        let expected = "<testsuite name=\"tenants\" tests=\"3\" failures=\"1\" errors=\"1\">";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("name=\"&quot;bach&quot; &amp; mai\" time=\"1.250\""),
            "{text}"
        );
        assert!(text.contains("<failure message=\"P1 &lt;open&gt;\"/>"), "{text}");
        assert!(text.contains("<error message=\"it is stuck\"/>"), "{text}");
        assert!(
            text.contains("<system-out>a &lt; b\nbell ?</system-out>"),
            "{text}"
        );
    }
}
