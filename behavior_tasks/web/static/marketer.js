// The slider of the budget: asks for the figures of where it stands and puts them on the page. Without this file the
// form does the same with its button.
(function () {
  "use strict";
  var form = document.getElementById("budget"), slider = document.getElementById("slider");
  if (!form || !slider || !window.fetch || !window.URLSearchParams) { return; }
  var number = document.getElementById("contacts"), kept = document.getElementById("take-contacts");
  var problems = document.getElementById("problems"), waiting = null, asked = 0;
  document.getElementById("slider-box").hidden = false;

  function show(answer) {
    Object.keys(answer.figures).forEach(function (name) {
      document.getElementById("figure-" + name).textContent = answer.figures[name];
    });
    document.getElementById("mark").setAttribute("cx", answer.mark[0]);
    document.getElementById("mark").setAttribute("cy", answer.mark[1]);
    document.getElementById("mark-line").setAttribute("x1", answer.mark[0]);
    document.getElementById("mark-line").setAttribute("x2", answer.mark[0]);
    problems.textContent = "";
    answer.problems.forEach(function (words) {
      problems.appendChild(document.createElement("li")).textContent = words;
    });
  }

  function ask() {
    var turn = asked += 1;
    var query = new URLSearchParams(new FormData(form)).toString();
    fetch(form.dataset.answer + "?" + query, { credentials: "same-origin" }).then(function (answer) {
      if (answer.status === 401) { window.location.reload(); }
      if (!answer.ok) { throw new Error(answer.status); }
      return answer.json();
    }).then(function (answer) {
      if (turn === asked) { show(answer); }
    }).catch(function () { /* the form's button still does it, and says what is wrong */ });
  }

  function soon() {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(ask, 60);
  }

  slider.addEventListener("input", function () {
    number.value = kept.value = slider.value;
    slider.setAttribute("aria-valuetext", Number(slider.value).toLocaleString(document.documentElement.lang));
    soon();
  });
  number.addEventListener("input", function () {
    slider.value = number.value || slider.min;
    kept.value = number.value;
    soon();
  });
  ["contact_cost", "margin", "value_of_sale"].forEach(function (name) {
    var field = document.getElementById(name);
    field.addEventListener("input", function () {
      document.querySelector(".take input[name='" + name + "']").value = field.value;
      soon();
    });
  });
})();
