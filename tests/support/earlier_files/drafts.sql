BEGIN TRANSACTION;
CREATE TABLE drafts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, parent INTEGER,
    origin TEXT NOT NULL, schedule TEXT NOT NULL, steps BLOB NOT NULL, closed INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, changed REAL NOT NULL
);
INSERT INTO "drafts" VALUES(1,'an owner','demo_tiny','Draft 1',NULL,'Uniform 50 %','{"version": 1, "blocks": [{"qk": 0.5, "vo": 0.0, "fc1": 0.0, "fc2": 0.25}, {"qk": 0.5, "vo": 0.0, "fc1": 0.0, "fc2": 0.25}], "selection": "calibrated", "score": "geometric_median", "coupling": "coupled", "multiple_of": 1, "seed": 0, "class_weight": 2.0, "token_fraction": null}',X'789C958FC10E823010447F85F44C0C70F45708696A596AC3B68B6DC183F1DFDD05355E3D7566DE363BDBF70FB541CA9EA23A576D5DA90B929D331B26B799DFE6D470BCD1574EB6FDD1DDA19F75F5DFFCC02E03822DC76EB540D23E18074A88A504923AA0002579AB038CDE448196D6057D74C2770DA3C461C5E2D9689ADEB76460C2EBE40F9A9CF51DBCBB168EBABD4DA119A29E92F994882BA234EB87E1058B155188',0,0,1.79600338289287471773e+09,1.79600338289287471773e+09);
INSERT INTO "drafts" VALUES(2,'an owner','demo_tiny','Draft 2',1,'Draft 1','{"version": 1, "blocks": [{"qk": 0.0, "vo": 0.5, "fc1": 0.0, "fc2": 0.0}, {"qk": 0.0, "vo": 0.5, "fc1": 0.0, "fc2": 0.0}], "selection": "per_image", "score": "geometric_median", "coupling": "coupled", "multiple_of": 1, "seed": 0, "class_weight": 2.0, "token_fraction": null}',X'789C8B8E8ED551888E8D05000B0F0275',0,0,1.79600338295304489139e+09,1.79600338295304489139e+09);
CREATE TABLE results (
    owner TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, schedule TEXT NOT NULL, result TEXT NOT NULL,
    measured REAL NOT NULL, PRIMARY KEY (owner, subject, digest)
);
INSERT INTO "results" VALUES('an owner','a subject','9a21041f7fbf40a74cbfa72fc48dc755f41b4a73b644568ae80d1b4757a2f4c2','{"version": 1, "blocks": [{"qk": 0.5, "vo": 0.0, "fc1": 0.0, "fc2": 0.25}, {"qk": 0.5, "vo": 0.0, "fc1": 0.0, "fc2": 0.25}], "selection": "calibrated", "score": "geometric_median", "coupling": "coupled", "multiple_of": 1, "seed": 0, "class_weight": 2.0, "token_fraction": null}','{"images": 16, "top1": {"value": 81.25, "ci95": [57.0, 93.4]}}',1.79600338297529602046e+09);
CREATE INDEX drafts_of_an_owner ON drafts (owner, model);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('drafts',2);
COMMIT;
