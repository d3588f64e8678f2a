#!/usr/bin/env bash
# Has promtool check the alert rules in contrib/prometheus and play them. Where promtool is missing it is taken out of the
# package that has it, without installing a service; where that cannot be had this is skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/bundlewatch-contrib.XXXXXX")
trap 'rm -rf "$work"' EXIT

promtool=$(command -v promtool || true)
if [ -z "$promtool" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  chmod 755 "$work"
  { [ "$(id -u)" != 0 ] || apt-get update -qq; } >/dev/null 2>&1 || true
  if (cd "$work" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb root) >"$work/log" 2>&1; then
    promtool=$work/root/usr/bin/promtool
  fi
fi
if [ -z "$promtool" ]; then
  echo "SKIP: alert rules: promtool is not installed, and the package prometheus cannot be had"
  exit 0
fi

"$promtool" --version 2>&1 | head -n 1
"$promtool" check rules contrib/prometheus/rules.yml
(cd contrib/prometheus && "$promtool" test rules rules_test.yml)

# The queries of the dashboard, as rules, with what Grafana puts in for its variables.
if command -v python3 >/dev/null; then
  python3 - contrib/grafana/bundlewatch.json >"$work/dashboard.yml" <<'EOP'
import json, sys
panels = json.load(open(sys.argv[1]))["panels"]
queries = [t["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$watch", ".*") for p in panels for t in p.get("targets", [])]
rules = [{"record": f"query:{n}", "expr": q} for n, q in enumerate(queries)]
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
EOP
  "$promtool" check rules "$work/dashboard.yml"
else
  echo "SKIP: queries of the dashboard: python3 is not installed"
fi

# A check that cannot fail is none: broken rules are refused.
sed 's/increase(/increased(/' contrib/prometheus/rules.yml >"$work/bad.yml"
if "$promtool" check rules "$work/bad.yml" >/dev/null 2>&1; then
  echo "FAIL: promtool takes a function that there is not"
  exit 1
fi
cp contrib/prometheus/rules_test.yml "$work/"
sed 's/== 0/== 7/' contrib/prometheus/rules.yml >"$work/rules.yml"
if (cd "$work" && "$promtool" test rules rules_test.yml) >/dev/null 2>&1; then
  echo "FAIL: rules that never raise anything pass their tests"
  exit 1
fi
echo "the rules are well, and broken ones are found"
