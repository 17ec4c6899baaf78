// ebay-api: by HTTPS_PROXY, two sellers from one process; it fetches its own tokens.
import eBayApi from "ebay-api";

const found = {};
for (const seller of ["m1", "m2"]) {
  const ebay = new eBayApi({ appId: "DUMMY-app", certId: `countersign-${seller}`, sandbox: false });
  const items = await ebay.buy.browse.search({ q: "a mug & a cup", limit: 1 });
  const offer = await ebay.sell.inventory.createOffer({ sku: "mug", marketplaceId: "EBAY_DE", format: "FIXED_PRICE" });
  found[seller] = { read: [items.itemSummaries[0].itemId, items.itemSummaries[0].title], wrote: offer.offerId };
}
console.log(JSON.stringify(found));
