export { type Race, type RaceResult, raceTogether } from './race-together.js';
