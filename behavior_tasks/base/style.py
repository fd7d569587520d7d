"""The look of every page: its shell, and one sheet of CSS, light or dark as the reader's system is.

In comes nothing; out come the texts. The one thing to know: it names fonts of the reader's own system, and nothing
that would have to be fetched.
"""

SHELL = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{% block title %}{% endblock %}</title>
<style>
{{ style | safe }}
{% block style %}{% endblock %}
</style>
</head>
<body>
<main>
{% block main %}{% endblock %}
</main>
</body>
</html>
"""
"""What every page stands in; a template fills its blocks `title`, `main` and, for rules of its own, `style`."""
LIGHT = """\
  --ground: #f3f5f7; --card: #ffffff; --ink: #1f2933; --soft: #56616d; --line: #dfe3e8; --blue: #0072b2;
  --warn: #b34700;
"""
DARK = """\
  --ground: #12161a; --card: #1c2127; --ink: #dfe4ea; --soft: #9aa4af; --line: #343c45; --blue: #56b4e9;
  --warn: #ff9a4d;
"""
"""The two palettes; a page that follows something else than the reader's system names the one it wants."""
STYLE = (
    f"""
:root {{
{LIGHT}}}
@media (prefers-color-scheme: dark) {{
  :root {{
{DARK}  }}
}}
"""
    + """* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 0 0 4px; }
p { margin: 0 0 10px; }
.soft { color: var(--soft); }
.warn { color: var(--warn); }
.banner { border-left: 6px solid var(--warn); }
.banner.notice { border-left-color: var(--blue); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px;
  margin-top: 18px;
}
.equation { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: baseline; margin: 6px 0 2px; }
.equation b { font-size: 1.45rem; font-variant-numeric: tabular-nums; display: block; line-height: 1.2; }
.equation .sign { font-size: 1.4rem; color: var(--soft); }
.equation small { color: var(--soft); }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(45%, 240px), 1fr)); gap: 12px 20px;
  margin: 14px 0 0;
}
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: minmax(0, 560px) minmax(0, 1fr); gap: 24px; align-items: start; }
.pair img { width: 100%; height: auto; display: block; }
.scroll { overflow: auto; max-height: 380px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; position: sticky; top: 0; background: var(--card); }
tr.open td { border-bottom: 0; padding-bottom: 0; }
th:first-child, td:first-child, .left { text-align: left; }
td:first-child { white-space: nowrap; }
.places { overflow-wrap: anywhere; }
code { font-size: .85em; overflow-wrap: anywhere; }
@media (max-width: 900px) {
  .pair { grid-template-columns: minmax(0, 1fr); }
  main { padding: 16px 10px 40px; }
  section { padding: 14px 12px; }
}
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; background: #ffffff; border-radius: 8px; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: 6px; }
.gallery {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 22px 26px;
  align-items: start;
}
h3 { font-size: 1rem; margin: 14px 0 4px; }
.verdict { font-size: 1.12rem; font-weight: 600; }
.badge {
  display: inline-block; border-radius: 999px; padding: 1px 12px; margin-right: 8px; font-size: .95rem;
  background: var(--blue); color: var(--card);
}
.badge.keep { background: var(--warn); }
.rules { list-style: none; margin: 8px 0; padding: 0; }
.rules li { padding: 3px 0 3px 26px; position: relative; overflow-wrap: anywhere; }
.rules li > b:first-child { position: absolute; left: 2px; }
td small { display: block; color: var(--soft); white-space: nowrap; }
tr.ours td { font-weight: 600; }
tr.ours small { font-weight: 400; }
.dense { font-size: .82rem; }
.dense th, .dense td { padding-right: 7px; }
.dense small { font-size: .68rem; letter-spacing: -.02em; }
.wrap td { white-space: normal; overflow-wrap: anywhere; }
"""
)
