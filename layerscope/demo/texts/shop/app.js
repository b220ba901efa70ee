/* Lantern & Rope, version @VERSION@. Draws the catalogue; there is no cart, one pays by the pier. */

const shop = document.querySelector("#shop");

async function catalogue() {
  const answer = await fetch(shop.dataset.catalog);
  if (!answer.ok) throw new Error(`the catalogue answered ${answer.status}`);
  return answer.json();
}

function card(article) {
  const box = document.createElement("article");
  box.innerHTML = `<h2></h2><p></p><data></data>`;
  box.querySelector("h2").textContent = article.name;
  box.querySelector("p").textContent = article.text;
  box.querySelector("data").textContent = `${(article.cents / 100).toFixed(2)} €`;
  return box;
}

catalogue()
  .then((articles) => shop.replaceChildren(...articles.map(card)))
  .catch((error) => { shop.textContent = `The shutters are down: ${error.message}.`; });

