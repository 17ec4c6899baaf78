"""stripe: by base URL, two accounts from one process; each client names its account where the key would be."""

import json
import os

import stripe

stripe.ca_bundle_path = os.environ.get("SSL_CERT_FILE", stripe.ca_bundle_path)
found = {}
for account in ("m1", "m2"):
    client = stripe.StripeClient(f"countersign-{account}", base_addresses={"api": os.environ["BASE"]}, max_network_retries=0)
    customers = client.v1.customers.list(params={"limit": 2})
    created = client.v1.customers.create(params={"email": "d@example.com"})
    found[account] = {"read": customers.data[0].email, "pages": [c.id for c in customers.auto_paging_iter()],
                      "wrote": [created.id, created.email]}
print(json.dumps(found))
