"""Goals over the clinic, written before any model had tried them; code is tried on their work half only."""

from tests.evals.sets.goal import Goal, Gold

CLINIC = (
    Goal("clinic_patients", "How many patients does the clinic have?", (Gold("SELECT COUNT(*) FROM tbl_Patient"),)),
    Goal(
        "clinic_outcomes",
        "How many appointments were kept, missed and cancelled?",
        (Gold("SELECT outcome, COUNT(*) FROM appt GROUP BY 1", ordered=False),),
    ),
    Goal(
        "clinic_fees_by_specialty",
        "What is the total of the fees of each specialty?",
        (Gold("SELECT specialty, SUM(fee) FROM appt JOIN physician USING (phys_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "clinic_busiest_physicians",
        "Which 3 physicians had the most kept appointments in 2024?",
        (
            Gold(
                """SELECT phys_name FROM appt JOIN physician USING (phys_id)
                WHERE outcome = 'kept' AND year("Visit Date") = 2024 GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "clinic_uninsured",
        "How many patients have no insurer?",
        (Gold("SELECT COUNT(*) FROM tbl_Patient WHERE InsurerCode IS NULL"),),
    ),
    Goal(
        "clinic_insurer_share",
        "How many patients does each insurer have? Name the insurers by their titles.",
        (
            Gold(
                "SELECT title, COUNT(*) FROM tbl_Patient JOIN insurer ON code = InsurerCode GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "clinic_town_ages",
        "For each town, when was the oldest patient born?",
        (Gold("SELECT Town, MIN(BirthDate) FROM tbl_Patient GROUP BY 1", ordered=False),),
    ),
    Goal(
        "clinic_visits_by_month",
        "How many appointments were there in each month of 2023? Draw a line chart.",
        (
            Gold(
                """SELECT COUNT(*) FROM appt WHERE year("Visit Date") = 2023
                GROUP BY month("Visit Date") ORDER BY month("Visit Date")"""
            ),
        ),
        chart=True,
    ),
    Goal(
        "clinic_long_visits",
        "What is the average length in minutes of the kept appointments of each physician?",
        (
            Gold(
                """SELECT phys_name, AVG(minutes) FROM appt JOIN physician USING (phys_id)
                WHERE outcome = 'kept' GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "clinic_no_neurology",
        "Which patients from Lakeside had a Neurology appointment in 2021?",
        (Gold("SELECT LastName FROM tbl_Patient WHERE false"),),
    ),
    Goal(
        "clinic_top_drugs",
        "What are the 4 drugs of which the most tablets were prescribed, with the number of tablets?",
        (Gold("SELECT drug, SUM(tablets) FROM rx GROUP BY 1 ORDER BY 2 DESC LIMIT 4"),),
    ),
    Goal(
        "clinic_drug_by_physician",
        "Find the 2 physicians who wrote the most prescriptions, and for each of them the drug they prescribed most"
        " often",
        (
            Gold(
                """SELECT phys_name FROM rx JOIN appt USING (appt_id) JOIN physician USING (phys_id)
                GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 2"""
            ),
            Gold(
                """WITH top AS (SELECT phys_id FROM rx JOIN appt USING (appt_id) GROUP BY 1 ORDER BY COUNT(*) DESC
                LIMIT 2) SELECT phys_name, drug FROM rx JOIN appt USING (appt_id) JOIN physician USING (phys_id)
                WHERE phys_id IN (SELECT phys_id FROM top) GROUP BY 1, 2
                QUALIFY row_number() OVER (PARTITION BY phys_name ORDER BY COUNT(*) DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "clinic_highest_fees",
        "Which 5 patients had the highest fees in total? Give last name, first name and the sum.",
        (
            Gold(
                """SELECT LastName, FirstName, SUM(fee) FROM appt JOIN tbl_Patient USING (PatientNo)
                GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5"""
            ),
        ),
    ),
    Goal(
        "clinic_save_hillcrest",
        "Save last name, first name and birth date of all patients from Hillcrest as hillcrest.csv",
        (Gold("SELECT LastName, FirstName, BirthDate FROM tbl_Patient WHERE Town = 'Hillcrest'", ordered=False),),
        file=".csv",
    ),
    Goal(
        "clinic_never_seen",
        "How many patients never had an appointment?",
        (Gold("SELECT COUNT(*) FROM tbl_Patient WHERE PatientNo NOT IN (SELECT PatientNo FROM appt)"),),
    ),
    Goal(
        "clinic_fees_chart",
        "Compare the average fee of each specialty in a bar chart, the highest first",
        (
            Gold(
                "SELECT specialty, AVG(fee) FROM appt JOIN physician USING (phys_id) GROUP BY 1 ORDER BY 2 DESC",
            ),
        ),
        chart=True,
    ),
    Goal(
        "clinic_recent_hires",
        "List the physicians hired since the start of 2019 with the day they were hired, the newest first",
        (Gold("SELECT phys_name, hired_on FROM physician WHERE hired_on >= '2019-01-01' ORDER BY hired_on DESC"),),
    ),
)
