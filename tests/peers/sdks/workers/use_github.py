"""PyGithub: by base URL."""

import json
import os

from github import Auth, Github

# Lazy, because an object that was fetched goes on with the absolute URLs of its JSON, which are not the base URL.
github = Github(auth=Auth.Token("ghp_DUMMY"), base_url=os.environ["BASE"], lazy=True, retry=None)
repository = github.get_repo("octo/tools")
issues = list(repository.get_issues())
created = repository.create_issue(title="third", body="with a body")
print(json.dumps({"read": issues[0].title, "pages": [i.number for i in issues], "wrote": [created.number, created.title]}))
