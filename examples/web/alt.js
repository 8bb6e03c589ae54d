import { load } from "./site/distilcap.js";

const captioner = await load();
for (const image of document.querySelectorAll("img:not([alt])")) {
  await image.decode(); // a picture of another site needs that site's permission (CORS)
  image.alt = (await captioner.describe(image)).captions[0].text;
}
document.body.dataset.ready = "";
