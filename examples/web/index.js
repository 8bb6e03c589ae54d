import { load } from "./site/distilcap.js";

const captioner = await load();
const caption = document.getElementById("caption");
document.querySelector("input").onchange = async ({ target }) => {
  caption.textContent = "";
  if (target.files.length === 0) return; // the dialogue was cancelled
  try {
    const { captions } = await captioner.describe(target.files[0]);
    caption.textContent = captions[0].text;
  } catch (error) {
    caption.textContent = error.message; // such as of a file that is no picture
  }
};
document.body.dataset.ready = "";
