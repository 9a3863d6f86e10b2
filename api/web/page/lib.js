// The two libraries of the page under one name: Preact draws, htm lets us write
// what it draws as tagged templates, so that no compiler is needed.
import {h, render, Fragment} from 'preact';
import htm from 'htm';

export {useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState, useCallback, useId} from 'preact/hooks';
export {render, Fragment};
export const html = htm.bind(h);
