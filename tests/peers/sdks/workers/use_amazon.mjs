// amazon-sp-api: by its own option for a proxy, two sellers from one process; it fetches its own LWA tokens.
import { HttpsProxyAgent } from "https-proxy-agent";
import { SellingPartner } from "amazon-sp-api";

const found = {};
for (const seller of ["m1", "m2"]) {
  const partner = new SellingPartner({
    region: "eu",
    refresh_token: `countersign-${seller}`,
    credentials: { SELLING_PARTNER_APP_CLIENT_ID: "amzn1.DUMMY", SELLING_PARTNER_APP_CLIENT_SECRET: "DUMMY" },
    options: { https_proxy_agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) },
  });
  const query = { MarketplaceIds: ["A1PA6795UKMFR9"], CreatedAfter: "2026-01-01T00:00:00Z" };
  const first = await partner.callAPI({ operation: "getOrders", endpoint: "orders", query });
  const second = await partner.callAPI({ operation: "getOrders", endpoint: "orders", query: { ...query, NextToken: first.NextToken } });
  const body = { reportType: "GET_MERCHANT_LISTINGS_DATA", marketplaceIds: query.MarketplaceIds };
  const created = await partner.callAPI({ operation: "createReport", endpoint: "reports", body });
  const pages = [first, second].map((page) => page.Orders[0].AmazonOrderId);
  found[seller] = { read: pages[0], pages, wrote: created.reportId };
}
console.log(JSON.stringify(found));
