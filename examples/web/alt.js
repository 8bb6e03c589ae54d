import { load } from "./site/distilcap.js";

const captioner = await load();
for (const image of document.querySelectorAll("img:not([alt])")) {
  try {
    await image.decode();
    image.alt = (await captioner.describe(image)).captions[0].text;
  } catch (error) {
    console.warn(image.src, error); // broken, or of another site that does not permit it (CORS)
  }
}
document.body.dataset.ready = "";
