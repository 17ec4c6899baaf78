"""woocommerce: by base URL (OAuth 1.0a in the query) and by HTTPS_PROXY (Basic); the page that Link names is followed."""

import json
import os
import urllib.parse

from woocommerce import API

api = API(url=os.environ["BASE"], consumer_key="ck_DUMMY", consumer_secret="cs_DUMMY", version="wc/v3", timeout=20)
first = api.get("products", params={"per_page": 1})
first.raise_for_status()
following = first.links["next"]["url"]
second = api.get("products", params=dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(following).query)))
created = api.post("products", {"name": "cup"})
print(json.dumps({"read": first.json()[0]["name"], "pages": [first.json()[0]["id"], second.json()[0]["id"]],
                  "wrote": created.json(), "link": following}))
