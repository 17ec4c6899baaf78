"""slack_sdk: by base URL, two workspaces from one process; each client names its workspace in a header."""

import json
import os

from slack_sdk import WebClient

found = {}
for team in ("m1", "m2"):
    client = WebClient(token="xoxb-DUMMY", base_url=os.environ["BASE"] + "/api/", headers={"Countersign-Tenant": team})
    pages = [channel["id"] for page in client.conversations_list(limit=1) for channel in page["channels"]]
    sent = client.chat_postMessage(channel="C1", text="hello <there> & goodbye")
    found[team] = {"read": pages[0], "pages": pages, "wrote": sent["message"]["text"]}
print(json.dumps(found))
