"""python-amazon-sp-api: by HTTPS_PROXY, two sellers from one process; it fetches its own LWA tokens."""

import json

from sp_api.api import Orders, Reports
from sp_api.base import Marketplaces

found = {}
for seller in ("m1", "m2"):
    keys = {"refresh_token": f"countersign-{seller}", "lwa_app_id": "amzn1.DUMMY", "lwa_client_secret": "DUMMY"}
    orders = Orders(credentials=keys, marketplace=Marketplaces.DE)
    first = orders.get_orders(CreatedAfter="2026-01-01T00:00:00Z")
    second = orders.get_orders(NextToken=first.next_token)
    created = Reports(credentials=keys, marketplace=Marketplaces.DE).create_report(reportType="GET_MERCHANT_LISTINGS_DATA")
    pages = [order["AmazonOrderId"] for page in (first, second) for order in page.payload["Orders"]]
    found[seller] = {"read": pages[0], "pages": pages, "wrote": created.payload["reportId"]}
print(json.dumps(found))
