"""PyGithub by HTTPS_PROXY: everything, also what follows the absolute URLs of its objects."""

import json
import os

from github import Auth, Github

github = Github(auth=Auth.Token("ghp_DUMMY"), base_url=os.environ.get("BASE", "https://api.github.com"), retry=None)
repository = github.get_repo("octo/tools")
issues = list(repository.get_issues())
created = repository.create_issue(title="third")
created.edit(state="closed")
print(json.dumps({"read": repository.name, "pages": [i.number for i in issues], "wrote": [created.number, created.state]}))
