/**
 * Ask the server for JSON, or for a part of a page as a document: unlike text, a document needs no permission from
 * Trusted Types, and it runs no script. Without a page in the request, the answer is a part.
 * Return `false` without an answer.
 *
 * @param {string} url
 * @param {FormData | null} [body]  the data to send, if any
 * @param {XMLHttpRequestResponseType} [type]
 * @returns {Promise<any>}
 */
export const request = (url, body, type = "json") =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", url);
    request.responseType = type;
    request.onloadend = () => resolve(request.status === 200 && request.response);
    request.send(body);
  });
