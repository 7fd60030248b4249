/**
 * Ask the server for JSON, or for a part of a page: that as a document, which unlike text needs no leave of Trusted
 * Types and runs no script. What asks for no page gets a part. Return `false` where there is no answer.
 *
 * @param {string} url
 * @param {FormData | null} [body]  what is sent, if anything is
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
