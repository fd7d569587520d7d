// Follows Airflow's choice of light or dark, which its page keeps under "theme" in the storage of this origin.
(function () {
  "use strict";
  var root = document.documentElement;
  function follow() {
    var chosen = null;
    try { chosen = window.localStorage.getItem("theme"); } catch (refused) { chosen = null; }
    if (chosen === "light" || chosen === "dark") { root.setAttribute("data-theme", chosen); }
    else { root.removeAttribute("data-theme"); }
  }
  follow();
  window.addEventListener("storage", follow);
  // Inside Airflow's frame a link to Airflow's own pages has to move the page around it.
  document.addEventListener("click", function (event) {
    var link = event.target.closest && event.target.closest("a[data-outer]");
    if (!link || window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
    var outer = window.parent.document.createElement("a");
    outer.href = link.href;
    event.preventDefault();
    outer.click();
  });
})();
