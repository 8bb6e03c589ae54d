import { load } from "./site/distilcap.js";

const captioner = await load();
document.querySelector("input").onchange = async ({ target }) => {
  const { captions } = await captioner.describe(target.files[0]);
  document.getElementById("caption").textContent = captions[0].text;
};
document.body.dataset.ready = "";
