"""Says what pip-audit found in one sentence; fails where a package is vulnerable, or could not be asked about.

pip-audit itself calls it a success where the service knows none of the packages.
"""

import json
import sys
from pathlib import Path

packages = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["dependencies"]
vulnerable = [package for package in packages if package.get("vulns")]
skipped = [package for package in packages if "skip_reason" in package]
for package in vulnerable:
    for advisory in package["vulns"]:
        fixed = ", ".join(advisory.get("fix_versions") or ["none"])
        print(f"error: {package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}", file=sys.stderr)
if skipped:
    sys.exit(
        f"error: {len(skipped)} of {len(packages)} packages could not be checked ({skipped[0]['name']}: "
        f"{skipped[0]['skip_reason'][:120]}); the service of advisories does not know them."
    )
if vulnerable:
    sys.exit(1)
print(f"none of {len(packages)} packages has a known vulnerability")
