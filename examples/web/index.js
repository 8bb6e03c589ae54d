import { load } from "./site/distilcap.js";

const captioner = await load();
const caption = document.getElementById("caption");
let latest = 0;
document.querySelector("input").onchange = async ({ target }) => {
  const mine = ++latest;
  caption.textContent = "";
  if (target.files.length === 0) return; // the dialogue was cancelled
  try {
    const { captions } = await captioner.describe(target.files[0]);
    if (mine === latest) caption.textContent = captions[0].text; // by now another may be chosen
  } catch (error) {
    if (mine === latest) caption.textContent = error.message; // such as of a file that is no picture
  }
};
document.body.dataset.ready = "";
