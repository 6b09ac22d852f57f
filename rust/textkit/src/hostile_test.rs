//! Templates that mean harm: each must be refused soon, and before it holds much memory.

use crate::chat::Chat;
use crate::template::{Limits, Template};
use crate::{Error, Kind, Result};
use std::time::{Duration, Instant};

const LIMITS: Limits = Limits {
    base_steps: 300_000,
    steps_per_message: 6_000,
    max_steps: 10_000_000,
    max_output_bytes: 64 << 20,
};

/// An attack takes a fraction of it; machines that test are busy.
const MAX_TIME: Duration = Duration::from_secs(20);

fn render(source: &str) -> Result<String> {
    let chat = Chat::new(r#"[{"role": "user", "content": "Hello"}]"#, "", "", "", true, 0)?;
    Template::new(source, "", LIMITS)?.render(&chat)
}

#[track_caller]
fn refused(source: &str, why: &str) -> Error {
    let begin = Instant::now();
    let shown: String = source.chars().take(200).collect();
    let error = render(source).expect_err(&shown);
    assert!(error.text.contains(why), "{shown}: {error}");
    assert!(begin.elapsed() < MAX_TIME, "{shown}: {:?}", begin.elapsed());
    error
}

#[track_caller]
fn limited(source: &str, why: &str) {
    assert_eq!(refused(source, why).kind, Kind::Limit, "{source}");
}

/// Takes `step` for as often as the limits let it; ns.v is what it grows, big a text of 30 MB.
fn grown(step: &str) -> String {
    format!(
        "{{% set ns = namespace(v='ab') %}}{{% set big = 'a' * 60000 %}}{{% set big = big * n(500) %}}\
         {{% for i in range(10000) %}}{{% for j in range(10000) %}}{step}{{% endfor %}}{{% endfor %}}"
    )
    .replace("n(500)", "('500' | int)")
}

/// `text` with N standing for a billion that the compiler does not know.
fn billion(text: &str) -> String {
    format!("{{% set N = '1000000000' | int %}}{text}")
}

#[test]
fn values_cannot_hold_themselves() {
    let why = "cannot hold a namespace";
    refused("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", why);
    refused("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}", why);
    refused("{% set ns = namespace() %}{% set ns.a = {'x': ns} %}", why);
    refused("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}", why);
    refused("{% set a = namespace() %}{% set b = dict(a=a) %}", why);
    refused("{% set a = namespace() %}{{ [none] | map('default', a, true) | list }}", why);
}

#[test]
fn values_nest_little() {
    limited(&grown("{% set ns.v = [ns.v] %}"), "levels deep");
    limited(&grown("{% set ns.v = {'x': ns.v} %}"), "levels deep");
    limited(&grown("{% set ns.v = [ns.v] | list %}"), "levels deep");
    limited(&grown("{% set ns.v = dict(x=ns.v) %}"), "levels deep");
    limited(&"{% set x = [x] %}".repeat(5000), "levels deep");
    limited(&grown("{% set ns.v = [ns.v, ns.v] %}"), "items");
    limited(&grown("{% set ns.v = [ns.v] * 9 %}"), "items");
}

#[test]
fn values_stay_small() {
    let why = "32 MiB";
    limited(&grown("{% set ns.v = ns.v ~ ns.v %}"), why);
    limited(&grown("{% set ns.v = ns.v + ns.v %}"), why);
    limited(&grown("{% set ns.v = ns.v * 9 %}"), why);
    limited(&grown("{% set ns.v = [ns.v, ns.v] | join('') %}"), why);
    limited(&grown("{% set ns.v = ns.v | replace('a', ns.v) %}"), why);
    limited(&grown("{% set ns.v = ns.v.replace('a', ns.v) %}"), why);
    limited(&grown("{% set ns.v = ns.v.replace('', ns.v) %}"), why);
    limited(&grown("{% set ns.v = '%s%s' | format(ns.v, ns.v) %}"), why);
    limited(&grown("{% set ns.v = '{0}{0}'.format(ns.v) %}"), why);
    limited(&grown("{% set ns.v = ('\\n' ~ ns.v) | indent(ns.v) %}"), why);
    limited(&grown("{% set ns.v = [ns.v, ns.v] | tojson(indent=60) %}"), why);
    limited(&grown("{% set ns.v = [ns.v] | string %}"), why);
    limited(&grown("{% set ns.v = [big, big] %}"), why);
    limited(&grown("{{ big ~ big }}"), why);
    limited(&grown("{{ big | list }}"), "items");
    limited(&grown("{{ big | map('upper') | list }}"), "items");
    limited(&grown("{{ big | join(big) }}"), "items");
    limited(&grown("{{ [big] | replace('a', big) }}"), why);
    limited(&grown("{{ 111 | replace(1, big) }}"), why);
    limited(&grown("{{ [[[1]]] | tojson(indent=big) }}"), why);
    limited(&grown("{{ [1, 2, 3] | tojson(separators=(big, big)) }}"), why);
    limited(&grown("{{ big.split('a') }}"), "items");
    limited(&grown("{{ big | split('a') }}"), "items");
    limited(&grown("{{ (big | replace('a', '\\n')) | lines }}"), "items");
    limited(&grown("{{ (big | replace('a', '\\n')).splitlines() }}"), "items");
}

#[test]
fn numbers_make_no_space() {
    limited("{{ 'x' * 1000000000 }}", "constants");
    limited("{{ [1] * 1000 * 1000 * 1000 }}", "constants");
    limited(&format!("{{{{ [{}] }}}}", "'x' * 60000,".repeat(9000)), "constants");
    limited(&billion("{{ 'x' * N }}"), "32 MiB");
    limited(&billion("{{ N * 'x' }}"), "32 MiB");
    limited(&billion("{{ [0] * N }}"), "items");
    limited(&billion("{{ (([] + [0]) * N) | length }}"), "items");
    limited(&billion("{% for a in range(N) %}{% endfor %}"), "items");
    limited(&billion("{{ range(-N, N, 2) }}"), "items");
    limited(&billion("{{ [1] | batch(N, 'x') }}"), "width");
    limited(&billion("{{ [1] | slice(N) }}"), "width");
    limited(&billion("{{ 1.5 | round(N) }}"), "width");
    limited("{{ '%1000000000d' | format(1) }}", "width");
    limited("{{ '%99999999999999999999d' | format(1) }}", "width");
    limited("{{ '{:>1000000000}'.format('x') }}", "width");
    limited("{{ '{:.1000000000f}'.format(1.5) }}", "width");
    assert_eq!(render(&billion("{{ [] * N }}{{ 'x' * -N }}{{ 'abc'[-N:N:N] }}")).unwrap(), "[]a");
    for method in ["center", "ljust", "rjust", "zfill", "expandtabs"] {
        refused(&billion(&format!("{{{{ 'x'.{method}(N) }}}}")), "no method");
    }
}

#[test]
fn what_is_written_is_limited() {
    let raw = "r".repeat(50_000);
    let held = format!("{{% set x %}}{}{{% endset %}}", grown(&raw));
    limited(&held, "memory");
    limited(&"{% set x %}{{ x }}{{ x }}..{% endset %}".repeat(2000), "32 MiB");
    let held = grown("{% set a = big ~ i %}{% set b = big ~ j %}").replace(
        "{% for j",
        "{% set c = big ~ 1 %}{% set d = big ~ 2 %}{% set e = big ~ 3 %}{% set f = big ~ 4 %}\
         {% set g = big ~ 5 %}{% set h = big ~ 6 %}{% set k = big ~ 7 %}{% for j",
    );
    limited(&held, "memory");
    limited(&grown("{{ 'x' * 10000 }}"), "");
}

#[test]
fn long_texts_take_no_time() {
    let why = "too long";
    limited(&grown("{% if big == big ~ '' %}{% endif %}"), why);
    limited(&grown("{% if big < ns.v < big %}{% endif %}"), why);
    limited(&grown("{% if 'b' in big %}{% endif %}"), why);
    limited(&grown("{% if ns.v in [big] %}{% endif %}"), why);
    limited(&grown("{% if big is eq big %}{% endif %}"), why);
    limited(&grown("{% if big.find('b') %}{% endif %}"), why);
    limited(&grown("{% if big.count('b') %}{% endif %}"), why);
    limited(&grown("{% if big.strip('bcdefgh') %}{% endif %}"), why);
    limited(&grown("{% if big | upper %}{% endif %}"), why);
    limited(&grown("{% if big | length %}{% endif %}"), why);
    limited(&grown("{% if big | reverse %}{% endif %}"), why);
    limited(&grown("{% if big | string %}{% endif %}"), why);
    limited(&grown("{% if big | safe %}{% endif %}"), why);
    limited(&grown("{% if big | int %}{% endif %}"), why);
    limited(&grown("{% if big[20000000] %}{% endif %}"), why);
    limited(&grown("{% if big[::-1] %}{% endif %}"), why);
    limited(&grown("{% if {'x': 1}[big] %}{% endif %}"), why);
    limited(&grown("{% if {big: 1} %}{% endif %}"), why);
    limited(&grown("{% if [big] | sort %}{% endif %}"), why);
    limited(&grown("{% if [big] | unique | list %}{% endif %}"), why);
    limited(&grown("{% if [big] | select('eq', big) | list %}{% endif %}"), why);
    limited(&grown("{% if [big] | map('upper') | list %}{% endif %}"), why);
    limited(&grown("{% macro m() %}{% endmacro %}"), why);
    refused("{{ loop.changed(1) }}", "not supported");
}

#[test]
fn recursion_ends() {
    refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion");
    refused("{% macro f(x) %}{{ f([x]) }}{{ f([x]) }}{% endmacro %}{{ f(1) }}", "recursion");
    refused(
        "{% macro f() %}{{ [1] | map('default', f()) | list }}{% endmacro %}{{ f() }}",
        "recursion",
    );
    refused("{% set x = [[]] %}{% for a in x recursive %}{{ loop(x) }}{% endfor %}", "recursion");
    let chain = "{% macro m() %}{{ x }}{% endmacro %}{% set x = m %}".repeat(2500);
    assert!(render(&chain).is_ok());
    let thirds = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{{ f(n - 1) }}\
                  {% endif %}{% endmacro %}";
    limited(&format!("{thirds}{{{{ f(15) }}}}"), "steps");
}

#[test]
fn the_compiler_is_safe() {
    limited(&format!("{{{{ x{} }}}}", " + 1".repeat(60_000)), "levels");
    limited(&format!("{{{{ {}1 }}}}", "-".repeat(250_000)), "levels");
    limited(&format!("{{{{ x{} }}}}", ".x".repeat(125_000)), "levels");
    limited(&format!("{{{{ x{} }}}}", " | string".repeat(25_000)), "levels");
    limited(&format!("{{{{ {}x }}}}", "not ".repeat(60_000)), "levels");
    refused(&"{% if true %}".repeat(19_000), "recursion");
    refused(&format!("{{{{ {} }}}}", "[".repeat(250_000)), "recursion");
    assert!(render(&format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(20_000))).is_ok());
    refused("{% autoescape true %}{% endautoescape %}", "not supported");
    refused("{{ f(*[1]) }}", "not supported");
    refused("{{ f(**{'a': 1}) }}", "not supported");
    refused("{{ [*[1]] }}", "");
    for tag in ["include 'x'", "import 'x' as x", "from 'x' import y", "extends 'x'"] {
        refused(&format!("{{% {tag} %}}"), "no other templates");
    }
    refused("{% block x %}{% endblock %}", "no other templates");
    refused("{{ {[1]: 2} }}", "key of a map");
    refused("{{ {(1, 2): 2} }}", "key of a map");
}

#[test]
fn refusals_are_short() {
    let error = refused("{{ raise_exception('x' * 60000) }}", "xxx");
    assert_eq!(error.kind, Kind::Raised);
    assert!(error.text.len() <= 2000, "{}", error.text.len());
    assert!(refused("{{ 1 + ('x' * 60000) | abs }}", "").text.len() <= 2000);
}
